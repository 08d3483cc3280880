"""MCCFormers-S: one Transformer over the cells of both images."""

from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.tokens import TokenFusion


class MccformersS(TokenFusion):
    """Fuses by self-attention over the cells of both images; a memory slot holds the before and the after cell.

    Source: Qiu et al., Describing and Localizing Multiple Changes with Transformers, ICCV 2021, section 3.2. The
    computation is that of the paper; all weights, including positions, have Xavier initialisation.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the layers, half the width of a memory slot.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of `dim`.
        feed_dim: Hidden width of the feed-forward networks; None means four times `dim`.
        dropout: Dropout rate on attention weights and after every sub-layer.
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
        feed_dim: PositiveInt | None = None,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        self.memory_dim = 2 * dim
        self.side = nn.Embedding(2, dim)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, feed_dim or 4 * dim, dropout, batch_first=True)
            for _ in range(layers)
        )
        for weights in self.parameters():
            if weights.ndim > 1:
                nn.init.xavier_uniform_(weights)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        sides = [self.tokens(grid) + code for grid, code in zip((before, after), self.side.weight, strict=True)]
        tokens = torch.cat(sides, dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return Fused(torch.cat(tokens.chunk(2, dim=1), dim=2), grid=(before.shape[1], before.shape[2]))
