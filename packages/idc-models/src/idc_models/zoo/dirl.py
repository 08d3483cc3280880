"""DIRL with CCR, on CLEVR-Change: `dirl` is models.DIRL.DIRL, `ccr` is models.CCR_no_init.CCR.

The method `dirl-dc` is the variant for CLEVR-DC, whose decoder is models.CCR.CCR. The shapes of the state determine
the variant, so either name loads both; only the weights of the objectives differ. The modules may also be called
`detector` or `encoder`, and `speaker` or `decoder`. Greedy decoding never generates the unknown word (token 1), as
published.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method
from idc_models.zoo.mccformers_s import layers

MODULES = {"dirl": ("dirl", "detector", "encoder"), "ccr": ("ccr", "speaker", "decoder")}
"""Possible names of each module."""

DIRL = {
    "img.0.": "fusion/project.",
    "w_embedding.": "fusion/positions.columns.",
    "h_embedding.": "fusion/positions.rows.",
    "transformer.*.attention.": "fusion/layers.*.attention.",
    "transformer.*.norm1.": "fusion/layers.*.norm.",
    "mlp.": "objectives/decorrelation/network.",
}
CCR = {
    "core.embed_fc.0.": "fusion/output.",
    "core.embed_fc.1.": "fusion/norm.",
    "core.embed.": "decoder/embedding.",
    "core.position_enc.": None,  # a constant
    "core.fc.0.": "decoder/project.",
    "core.fc.1.": "decoder/norm.",
    "core.layer.*.self_att.": "decoder/layers.*.self_attention.",
    "core.layer.*.cross_att.": "decoder/layers.*.cross_attention.",
    "core.layer.*.": "decoder/layers.*.",  # linear1, linear2, norm1, norm2, norm3
    "logit.": "decoder/output.",
}
NAMES = {
    f"{module}/{theirs}": ours
    for modules, names in zip(MODULES.values(), (DIRL, CCR), strict=True)
    for module in modules
    for theirs, ours in names.items()
}


def found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """Infer the settings from the shapes of a state of either variant."""
    dirl, ccr = (_module(state, part) for part in ("dirl", "ccr"))
    dim, seen = dirl["img.0.weight"].shape[:2]
    norm = "core.fc.1.weight" in ccr
    return {
        "visual_dim": seen if norm else seen - 2,
        "fusion": {
            "dim": dim,
            "layers": layers(dirl, "transformer."),
            "grid_side": len(dirl["h_embedding.weight"]),
            "coordinates": not norm,
            "norm": norm,
        },
        "decoder": {
            "dim": ccr["logit.weight"].shape[1],
            "word_dim": ccr["core.embed.weight"].shape[1],
            "layers": layers(ccr, "core.layer."),
            "norm": norm,
            "unspoken": [1],
        },
        "objectives": {"decorrelation": {"hidden": len(dirl["mlp.0.weight"])}, "ccr": {"as_published": True}},
    }


def _module(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    starts = tuple(f"{name}/" for name in MODULES[part])
    return {name.partition("/")[2]: value for name, value in state.items() if name.startswith(starts)}


METHOD = Method(
    fusion="dirl",
    decoder="dirl",
    objectives={"caption": 1.0, "decorrelation": 0.5, "ccr": 0.3},
    names=NAMES,
    found=found,
)
