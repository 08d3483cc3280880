"""DIRL: attention of each image to the other; what is left of a side without it is the difference."""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.attention import StackedAttention
from idc_models.contract import Fused, Fusion, Grid, Rate
from idc_models.positions import GridTable, with_coordinates


class Dirl(Fusion):
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
        super().__init__(visual_dim)
        if dim % heads:
            raise ValueError(f"fusion 'dirl': dim is {dim!r} and heads is {heads!r}; heads must divide dim")
        self.coordinates = coordinates
        self.memory_dim = dim
        self.project = nn.Conv2d(visual_dim + 2 * coordinates, dim, 1)
        self.positions = GridTable(dim, grid_side)
        self.layers = nn.ModuleList(DirlLayer(dim, heads, dropout) for _ in range(layers))
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

    def tokens(self, grid: Grid) -> Float[Tensor, "b m e"]:
        """Give the cells of one side, row by row."""
        if self.coordinates:
            grid = with_coordinates(grid)
        projected = self.project(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (projected + self.positions(*grid.shape[1:3])).flatten(1, 2)


class DirlLayer(nn.Module):
    """Attention to the other side, the residual, and a norm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = StackedAttention(dim, heads, dropout)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, own: Float[Tensor, "n m d"], other: Float[Tensor, "n m d"]) -> Float[Tensor, "n m d"]:
        """Renew one side by what it attends to of the other."""
        return self.norm(own + self.dropout(self.attention(own, self.attention.cache(other))))
