"""Multi-head attention as in torch's `MultiheadAttention`, with keys and values that can be cached."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

#: Keys and values, each `n heads slots width`.
Cache = tuple[Tensor, Tensor]


class StackedAttention(nn.MultiheadAttention):
    """Multi-head attention with the parameters of torch's module: queries, keys and values in one stacked matrix.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.2.2. Many published methods of this field
    use torch's module, so their weights can be loaded.

    Args:
        dim: Width of the queries and of the sequence that they attend to.
        heads: Number of attention heads, a divisor of `dim`.
        dropout: Dropout rate of the attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__(dim, heads, dropout=dropout, batch_first=True)

    def cache(self, source: Float[Tensor, "n m d"]) -> Cache:
        """Compute the keys and values of the sequence to attend to."""
        width = self.embed_dim
        keys, values = linear(source, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, dim=2)
        return self._split(keys), self._split(values)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, hidden: Float[Tensor, "n l d"], cache: Cache, *, causal: bool = False, mask: Tensor | None = None
    ) -> Float[Tensor, "n l d"]:
        """Attend to cached keys and values; `mask` is added to the scores.

        The cache may have fewer rows than `hidden`: several captions then share one memory, see `share`.
        """
        dropout = self.dropout if self.training else 0.0
        queries = self._queries(share(hidden, cache))
        read = scaled_dot_product_attention(queries, *cache, mask, dropout, causal)
        return self.out_proj(read.transpose(1, 2).flatten(2)).view_as(hidden)

    def weights(self, hidden: Float[Tensor, "n l d"], cache: Cache) -> Float[Tensor, "n heads l m"]:
        """Compute the attention weights, which the fused kernel does not return."""
        queries, (keys, _) = self._queries(share(hidden, cache)), cache
        weights = (queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])).softmax(-1)
        return weights.unflatten(2, (-1, hidden.shape[1])).transpose(1, 2).flatten(0, 1)

    def _queries(self, hidden: Tensor) -> Tensor:
        width = self.embed_dim
        return self._split(linear(hidden, self.in_proj_weight[:width], self.in_proj_bias[:width]))

    def _split(self, wide: Tensor) -> Tensor:
        return wide.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


def share(hidden: Float[Tensor, "n l d"], cache: Cache) -> Float[Tensor, "b kl d"]:
    """Concatenate the k captions of each memory along their length, n = b k, for a cache of b rows.

    The keys and values of a memory are then computed and cached once per pair. If n equals b, nothing changes.
    """
    return hidden.reshape(len(cache[0]), -1, hidden.shape[2])


def extend(past: Cache | None, latest: Cache) -> Cache:
    """Append the keys and values of the latest positions to those of earlier positions."""
    if past is None:
        return latest
    keys, values = (torch.cat(both, dim=2) for both in zip(past, latest, strict=True))
    return keys, values
