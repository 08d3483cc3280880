"""Chg2Cap: `encoder` is model.model_encoder.AttentiveEncoder, `decoder` is model.model_decoder.DecoderTransformer.

The published encoder swaps height and width of its grids; the fusion's extras `before` and `after` hold the same cells
row by row. The first convolutions of the published decoder belong to our fusion. Published logits are sorted by
decreasing caption length, ours are not. They differ from the end token on, which the published decoder masks in
training.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method
from idc_models.zoo.mccformers_s import layers


def _found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    dim, both = state["decoder/Conv1.weight"].shape[:2]
    return {
        "visual_dim": both // 2,
        "fusion": {
            "dim": dim,
            "layers": layers(state, "encoder/selftrans."),
            "heads": 8,
            "attention_dim": len(state["encoder/selftrans.0.0.att.to_q.weight"]),
            "feed_dim": len(state["encoder/selftrans.0.0.feedforward.net.0.weight"]),
            "grid_side": len(state["encoder/h_embedding.weight"]),
            "as_published": True,
        },
        "decoder": {
            "layers": layers(state, "decoder/transformer.layers."),
            "heads": 8,
            "residual": True,
        },
    }


METHOD = Method(
    fusion="chg2cap",
    decoder="post-norm",
    objectives={"caption": 1.0},
    names={
        "encoder/h_embedding.": "fusion/positions.columns.",  # its names are swapped
        "encoder/w_embedding.": "fusion/positions.rows.",
        **{
            f"encoder/selftrans.*.{number}.{theirs}": f"fusion/layers.*.{part}.{ours}"
            for number, part in enumerate(("alone", "joint"))
            for theirs, ours in {
                "att.to_q.": "query.",
                "att.to_k.": "key.",
                "att.to_out.0.": "output.",
                "feedforward.net.0.": "linear1.",
                "feedforward.net.3.": "linear2.",
                "norm1.": "norm1.",
                "norm2.": "norm2.",
            }.items()
        },
        "encoder/selftrans.*.0.att.to_v.": None,
        "encoder/selftrans.*.1.att.to_v.": None,
        "decoder/Conv1.": "fusion/mix.",
        "decoder/LN.left.": "fusion/refine.layers.",
        "decoder/vocab_embedding.": "decoder/embedding.",
        "decoder/position_encoding.": None,  # constants, and an unused table
        "decoder/transformer.layers.*.": "decoder/layers.*.",  # both attentions, linear1, linear2, norm1 to norm3
        "decoder/transformer.layers.*.fc_alpha": None,
        "decoder/wdc.": "decoder/output.",
    },
    found=_found,
    level=-1,
    image_size=256,
)
