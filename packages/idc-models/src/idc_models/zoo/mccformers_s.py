"""MCCFormers-S: `encoder` is models_trans.MCCFormers_S, `decoder` is models_trans.DecoderTransformer.

The published memory is `m b e`, ours `b m e`; published logits are sorted by decreasing caption length, ours are not.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method

DECODER = {
    "decoder/vocab_embedding.": "decoder/embedding.",
    "decoder/transformer.layers.*.": "decoder/layers.*.",
    "decoder/wdc.": "decoder/output.",
    "decoder/position_encoding.": None,  # a constant
}
GRID = {
    "encoder/input_proj.": "fusion/project.",
    "encoder/w_embedding.": "fusion/positions.columns.",
    "encoder/h_embedding.": "fusion/positions.rows.",
}


def layers(state: Mapping[str, Tensor], start: str) -> int:
    """Count the layers in a state; `start` is the part of their names before the layer number."""
    return len({name.removeprefix(start).partition(".")[0] for name in state if name.startswith(start)})


def sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the settings that MCCFormers-S and MCCFormers-D have in common."""
    dim, visual_dim = state["encoder/input_proj.weight"].shape[:2]
    return {
        "visual_dim": visual_dim,
        "fusion": {"dim": dim, "grid_side": len(state["encoder/h_embedding.weight"]), "heads": 4},
        "decoder": {"layers": layers(state, "decoder/transformer.layers."), "heads": 4, "dropout": 0.5},
    }


def _found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    found = sizes(state)
    found["fusion"] |= {
        "layers": layers(state, "encoder/transformer.layers."),
        "feed_dim": len(state["encoder/transformer.layers.0.linear1.weight"]),
        "dropout": 0.1,
    }
    return found


METHOD = Method(
    fusion="mccformers-s",
    decoder="post-norm",
    objectives={"caption": 1.0},
    names={
        **GRID,
        "encoder/idx_embedding.": "fusion/side.",
        "encoder/transformer.layers.*.": "fusion/layers.*.",
        **DECODER,
    },
    found=_found,
    start=-2,
    end=-1,
)
