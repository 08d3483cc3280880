"""DUDA: `detector` is models.modules.ChangeDetectorDoubleAttDyn, `speaker` is models.dynamic_speaker.DynamicSpeaker.

Its captions end with token 0, which is also its padding, and are never empty: greedy decoding as published is
`generate(decoder, memory, forbidden=[[0]])`. The published detector has a classifier of change types, `fc1`, on which
neither captions nor losses depend.
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
