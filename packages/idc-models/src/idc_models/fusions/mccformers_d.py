"""MCCFormers-D: two Transformers with shared weights, each image attending to the other."""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.attention import StackedAttention
from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.tokens import TokenFusion


class MccformersD(TokenFusion):
    """Fuses by cross-attention of each image to the other with shared weights; one memory slot per cell.

    Each layer updates both sides at once, from the other side's previous values.

    Source: Qiu et al., Describing and Localizing Multiple Changes with Transformers, ICCV 2021, section 3.2. The
    computation is that of the paper; unlike in the published code, grids need not be square.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the layers, half the width of a memory slot.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of `dim`.
        dropout: Dropout rate on attention weights and after every sub-layer; published: 0.5.
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
        heads: PositiveInt = 4,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        self.memory_dim = 2 * dim
        self.layers = nn.ModuleList(CrossLayer(dim, heads, dropout) for _ in range(layers))
        for weights in self.parameters():
            if weights.ndim > 1:
                nn.init.xavier_uniform_(weights)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        own, other = self.tokens(before), self.tokens(after)
        for layer in self.layers:
            both = layer(torch.cat([own, other]), torch.cat([other, own]))
            own, other = both.chunk(2)
        return Fused(torch.cat([own, other], dim=2), grid=(before.shape[1], before.shape[2]))


class CrossLayer(nn.Module):
    """Cross-attention and a feed-forward network, four times as wide, with layer norms after the residuals."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = StackedAttention(dim, heads, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Float[Tensor, "n m d"], other: Float[Tensor, "n m d"]) -> Float[Tensor, "n m d"]:
        """Update one side by attention to the other."""
        own = self.norm1(own + self.dropout(self.attention(own, self.attention.cache(other))))
        return self.norm2(own + self.dropout(self.linear2(self.dropout(self.linear1(own).relu()))))
