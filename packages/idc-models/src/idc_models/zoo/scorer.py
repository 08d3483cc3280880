"""SCORER with CBR: `detector` is models.SCORER.ChangeDetector, `cbr` is models.CBR.CBR.

Its decoder, `speaker`, is models.transformer_decoder.Speaker. Greedy decoding never generates the unknown word (token
1), as published. In the published state, layers before the last have a factor of match scores that no output depends
on.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method
from idc_models.zoo.mccformers_s import layers

DETECTOR = {
    "detector/img.0.": "fusion/project.",
    "detector/w_embedding.": "fusion/positions.columns.",
    "detector/h_embedding.": "fusion/positions.rows.",
    "detector/scorer.*.attention.": "fusion/layers.*.",  # query, key, value, layer_norm
    "detector/scorer.*.attention.logit_scale": "objectives/cross-view/scale.logit_scale",
    "detector/embed_fc.0.": "fusion/output.",
}
SPEAKER = {
    "speaker/core.embed.": "decoder/embedding.",
    "speaker/core.position_enc.": None,  # a constant
    "speaker/core.fc.0.": "decoder/project.",
    "speaker/core.fc.2.": "decoder/norm.",
    "speaker/core.layer.*.self_attention.": "decoder/layers.*.self_attention.",
    "speaker/core.layer.*.dec_enc_attention.": "decoder/layers.*.cross_attention.",
    "speaker/core.layer.*.norm1.": "decoder/layers.*.norm1.",
    "speaker/core.layer.*.norm2.": "decoder/layers.*.norm2.",
    "speaker/core.layer.*.hidden_intermediate.dense.": "decoder/layers.*.linear1.",
    "speaker/core.layer.*.output.dense.": "decoder/layers.*.linear2.",
    "speaker/core.layer.*.output.LayerNorm.": "decoder/layers.*.norm3.",
    "speaker/logit.": "decoder/output.",
}
CBR = {
    "cbr/conv1.": "objectives/cbr/mix.",
    "cbr/mh_att.": "objectives/cbr/attend.",
    "cbr/conv2.0.": "objectives/cbr/output.",
    "cbr/contra.query.": "objectives/cbr/query.",
    "cbr/contra.key.": "objectives/cbr/key.",
    "cbr/contra.logit_scale": "objectives/cbr/scale.logit_scale",
}


def _found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    dim, seen = state["detector/img.0.weight"].shape[:2]
    return {
        "visual_dim": seen - 2,
        "fusion": {
            "dim": dim,
            "layers": layers(state, "detector/scorer."),
            "grid_side": len(state["detector/h_embedding.weight"]),
            "coordinates": True,
        },
        "decoder": {
            "dim": len(state["speaker/core.fc.0.weight"]),
            "word_dim": state["speaker/core.embed.weight"].shape[1],
            "layers": layers(state, "speaker/core.layer."),
            "unspoken": [1],
        },
        "objectives": {"cbr": {"as_published": True}},
    }


METHOD = Method(
    fusion="scorer",
    decoder="lean-transformer",
    objectives={"caption": 1.0, "cross-view": 0.1, "cbr": 0.001},
    names={**DETECTOR, **SPEAKER, **CBR},
    found=_found,
)
