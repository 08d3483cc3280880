"""MCCFormers-D: `encoder` is models_trans.MCCFormers_D, `decoder` is models_trans.DecoderTransformer.

The published memory is `m b e`, ours `b m e`; published logits are sorted by decreasing caption length, ours are not.
The released class cannot run until a wrong class name in it is corrected, so the attention has different names in
different copies.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idc_models.zoo import Method
from idc_models.zoo.mccformers_s import DECODER, GRID, layers, sizes


def _found(state: Mapping[str, Tensor]) -> Mapping[str, Any]:
    found = sizes(state)
    found["fusion"] |= {"layers": layers(state, "encoder/transformer."), "dropout": 0.5}
    return found


METHOD = Method(
    fusion="mccformers-d",
    decoder="post-norm",
    objectives={"caption": 1.0},
    names={
        **GRID,
        "encoder/transformer.*.": "fusion/layers.*.",  # linear1, linear2, norm1, norm2
        "encoder/transformer.*.attention.": "fusion/layers.*.attention.",
        "encoder/transformer.*.self_attn.": "fusion/layers.*.attention.",
        "encoder/transformer.*.multihead_attn.": "fusion/layers.*.attention.",
        **DECODER,
    },
    found=_found,
    start=-2,
    end=-1,
)
