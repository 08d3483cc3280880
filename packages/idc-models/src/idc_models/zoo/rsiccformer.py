"""RSICCformer: `encoder` is models_RSICCformerDfusion.MCCFormers_diff_as_Q, `decoder` is its DecoderTransformer.

The published memory is `m b e`, ours `b m e`; published logits are sorted by decreasing caption length, ours are not.
Of 129 published tensors 26 never get a gradient (19.8 of 57.9 million parameters); they are not loaded.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method, State
from idc_models.zoo.mccformers_s import layers

_PROJECTIONS = {1024: "projection", 768: "projection2", 512: "projection3", 256: "projection4"}
"""Width of the features -> the projection that the published encoder uses for them."""


def _found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    dim, visual_dim = state["encoder/projection.weight"].shape[:2]
    return {
        "visual_dim": visual_dim,
        "fusion": {
            "dim": dim,
            "layers": layers(state, "encoder/transformer."),
            "heads": 8,
            "dropout": 0.5,
            "grid_side": len(state["encoder/h_embedding.weight"]),
        },
        "decoder": {"layers": layers(state, "decoder/transformer.layers."), "heads": 8, "dropout": 0.5},
    }


def _unused(state: State) -> list[str]:
    """Return the projections for features of other widths. Gradients exist for the projection in use only."""
    first = state.get("encoder/projection.weight")
    used = [name for name in _PROJECTIONS.values() if f"encoder/{name}.weight" in state]
    if first is not None and len(used) > 1:
        used = [_PROJECTIONS.get(first.shape[1], "projection")]
    return [f"encoder/{name}." for name in _PROJECTIONS.values() if name not in used]


METHOD = Method(
    fusion="rsiccformer",
    decoder="post-norm",
    objectives={"caption": 1.0},
    names={
        **{f"encoder/{name}.": "fusion/project." for name in _PROJECTIONS.values()},
        "encoder/w_embedding.": "fusion/positions.columns.",
        "encoder/h_embedding.": "fusion/positions.rows.",
        "encoder/embedding_1D.": None,
        "encoder/transformer.*.": "fusion/layers.*.",  # attention, linear1, linear2, norm1, norm2
        "encoder/resblock.*.left.": "fusion/refine.*.layers.",
        "encoder/LN.*.": "fusion/norms.*.",
        "decoder/vocab_embedding.": "decoder/embedding.",
        "decoder/position_encoding.": None,  # constants, and an unused table
        "decoder/transformer.layers.*.": "decoder/layers.*.",  # self_attn, linear1, linear2, norm1, norm2, norm3
        "decoder/transformer.layers.*.multihead_attn2.": "decoder/layers.*.multihead_attn.",
        "decoder/transformer.layers.*.self_attn2.": None,
        "decoder/transformer.layers.*.multihead_attn.": None,
        "decoder/transformer.layers.*.multihead_attn3.": None,
        "decoder/transformer.layers.*.fc_alpha": None,
        "decoder/wdc.": "decoder/output.",
    },
    found=_found,
    unused=_unused,
    start=-2,
    end=-1,
)
