"""DIRL: the difference of an image is what remains after subtracting its attention to the other image."""

from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.tokens import AttentionLayer, TokenFusion


class Dirl(TokenFusion):
    """Fuses the differences that remain of each image after cross-attention; one memory slot per cell.

    Extras, `b m d`: `before` and `after`, the input of the first layer (for `decorrelation`), and `before_difference`
    and `after_difference`.

    Source: Tu et al., Distractors-Immune Representation Learning with Cross-modal Contrastive Regularization for Change
    Captioning, ECCV 2024. Differs from the paper: as in the authors' code, a difference is the input of the first layer
    minus the output of the last. The projection of both differences to the memory belongs to the fusion, not to the
    decoder.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the layers and of a memory slot; published: 512.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of `dim`; published: 8.
        dropout: Dropout rate on attention weights, after attention and on the memory; published: 0.1.
        grid_side: Maximum height and width of a grid, in cells.
        coordinates: Append the coordinates of each cell to its features, as two channels (published: true for
            CLEVR-Change, false for CLEVR-DC).
        norm: Apply a layer norm before the memory (published: true for CLEVR-DC, false for CLEVR-Change).

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
        norm: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        self.memory_dim = dim
        self.layers = nn.ModuleList(AttentionLayer(dim, heads, dropout) for _ in range(layers))
        self.output = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        for name, weights in self.named_parameters():
            if weights.ndim > 1 and not name.startswith("output"):
                nn.init.xavier_uniform_(weights)
        if norm:
            nn.init.xavier_uniform_(self.output.weight)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        own, other = first = self.tokens(before), self.tokens(after)
        extras = {"before": own, "after": other}
        for layer in self.layers:
            own, other = layer(torch.cat([own, other]), torch.cat([other, own])).chunk(2)
        extras |= {"before_difference": first[0] - own, "after_difference": first[1] - other}
        both = torch.cat([extras["before_difference"], extras["after_difference"]], dim=2)
        memory = self.dropout(self.norm(self.output(both))).relu()
        return Fused(memory, grid=(before.shape[1], before.shape[2]), extras=extras)
