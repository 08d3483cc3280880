"""SCORER: cross-view matching by attention of each image to the other, without feed-forward networks."""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.tokens import TokenFusion


class Scorer(TokenFusion):
    """Fuses by cross-attention of each image to the other with shared weights; one memory slot per cell.

    Extras, `b m d`: `before` and `after`, the input of the first layer (for `cbr`), and the last layer's
    `before_queries`, `before_keys`, `after_queries` and `after_keys` (for `cross-view`).

    Source: Tu et al., Self-supervised Cross-view Representation Reconstruction for Change Captioning, ICCV 2023,
    section 3.2. Differs from the paper: as in the authors' code, attention has no output projection and layers have no
    feed-forward network. The objective computes match scores, for the last layer and in training only; the authors'
    code computes them in every layer and for every generated caption.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the layers and of a memory slot; published: 512.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of `dim`; published: 8.
        dropout: Dropout rate on attention weights and on the memory.
        grid_side: Maximum height and width of a grid, in cells.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: `heads` does not divide `dim`, or a grid is larger than `grid_side`.
    """

    layers: Any  # a ModuleList, which type checkers cannot look into

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 256,
        layers: PositiveInt = 2,
        heads: PositiveInt = 8,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        self.memory_dim = dim
        self.layers = nn.ModuleList(MatchLayer(dim, heads, dropout) for _ in range(layers))
        self.output = nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        own, other = self.tokens(before), self.tokens(after)
        extras = {"before": own, "after": other}
        for layer in self.layers:
            queries, keys = layer.query(torch.cat([own, other])), layer.key(torch.cat([own, other]))
            if layer is self.layers[-1]:
                extras["before_queries"], extras["after_queries"] = queries.chunk(2)
                extras["before_keys"], extras["after_keys"] = keys.chunk(2)
            own, other = layer(torch.cat([own, other]), queries, keys.roll(len(own), 0), torch.cat([other, own])).chunk(
                2
            )
        memory = self.dropout(self.output(torch.cat([own, other], dim=2))).relu()
        return Fused(memory, grid=(before.shape[1], before.shape[2]), extras=extras)


class MatchLayer(nn.Module):
    """Cross-attention without output projection, with a residual and a norm."""

    def __init__(self, dim: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, own: Tensor, queries: Tensor, keys: Tensor, other: Tensor) -> Float[Tensor, "n m d"]:
        """Update one side by attention to the other."""
        parts = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (queries, keys, self.value(other)))
        rate = self.rate if self.training else 0.0
        read = scaled_dot_product_attention(*parts, dropout_p=rate)
        return self.layer_norm(own + read.transpose(1, 2).flatten(2))
