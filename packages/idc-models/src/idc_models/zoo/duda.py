"""DUDA: `detector` is models.modules.ChangeDetectorDoubleAttDyn, `speaker` is models.dynamic_speaker.DynamicSpeaker.

Its end of a caption is token 0, which is its padding too, and no caption of it is empty: greedy decoding as published
is `generate(decoder, memory, forbidden=[[0]])`. The state of the published detector holds a classifier of the kind of
change, `fc1`, which no caption and no loss depends on.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method


def _found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    dim, seen = state["detector/embed.0.weight"].shape[:2]
    return {
        "visual_dim": seen // 2 - 2,
        "fusion": {"dim": dim, "coordinates": True, "dropout": 0.5},
        "decoder": {
            "dim": state["speaker/core.weight_fc.0.weight"].shape[1],
            "embed_dim": len(state["speaker/core.embed.0.weight"]),
            "word_dim": state["speaker/embed.0.weight"].shape[1],
            "dropout": 0.5,
        },
    }


METHOD = Method(
    fusion="duda",
    decoder="dynamic-speaker",
    objectives={"caption": 1.0, "map-sum": 0.0025, "attention-entropy": 0.0001},
    names={
        "detector/embed.": "fusion/embed.",
        "detector/att.": "fusion/attend.",
        "detector/fc1.": None,
        "speaker/embed.0.": "decoder/embedding.",
        "speaker/core.embed.0.": "decoder/embed.",
        "speaker/core.module_att_lstm.": "decoder/attending.",
        "speaker/core.weight_fc.0.": "decoder/weigh.",
        "speaker/core.lang_lstm.": "decoder/speaking.",
        "speaker/logit.": "decoder/output.",
    },
    found=_found,
    start=2,
    end=0,
)
