"""DIRL: attention of each image to the other; what is left of a side without it is the difference."""

from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.tokens import AttentionLayer, TokenFusion


class Dirl(TokenFusion):
    """Fuses by what cross-attention leaves over of each image; a memory slot is a cell of both differences.

    Extras: `before` and `after`, the tokens that the first layer gets (for `decorrelation`), and `before_difference`
    and `after_difference`, all of them `b m d`.

    Source: Tu et al., Distractors-Immune Representation Learning with Cross-modal Contrastive Regularization for Change
    Captioning, ECCV 2024. Differs from the paper: as in the authors' code, a difference is the tokens before the first
    layer minus those after the last. The projection of both differences to the memory is here and not in the decoder.

    Args:
        visual_dim: width of a grid cell.
        dim: width of the layers and of a memory slot; published: 512.
        layers: number of layers.
        heads: attention heads, a divisor of `dim`; published: 8.
        dropout: on attention weights, after attention and on the memory; published: 0.1.
        grid_side: largest height and width of a grid, in cells.
        coordinates: append where each cell is to the features, as two channels (CLEVR-Change: true, CLEVR-DC: false).
        norm: a layer norm before the memory (CLEVR-DC: true, CLEVR-Change: false).

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
