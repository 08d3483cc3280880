"""Base class of fusions that treat the cells of each image as tokens."""

import re

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.attention import StackedAttention
from idc_models.contract import Fusion, Grid
from idc_models.positions import GridTable, with_coordinates


class TokenFusion(Fusion):
    """Projects both grids with shared weights and adds learned position encodings.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of a token.
        heads: Number of attention heads in the layers of the subclass, a divisor of `dim`.
        grid_side: Maximum height and width of a grid, in cells.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    def __init__(
        self, visual_dim: int, *, dim: PositiveInt, heads: PositiveInt, grid_side: PositiveInt, coordinates: bool
    ) -> None:
        super().__init__(visual_dim)
        if dim % heads:
            name = re.sub(r"(?<=.)(?=[A-Z])", "-", type(self).__name__).lower()
            raise ValueError(f"fusion {name!r}: dim is {dim!r} and heads is {heads!r}; heads must divide dim")
        self.coordinates = coordinates
        self.project = nn.Conv2d(visual_dim + 2 * coordinates, dim, 1)
        self.positions = GridTable(dim, grid_side)

    def tokens(self, grid: Grid) -> Float[Tensor, "b m e"]:
        """Return the cells of one side as tokens, row by row.

        Raises:
            ValueError: The grid is larger than `grid_side`.
        """
        cells = self.cells(grid)
        return (cells + self.positions(*cells.shape[1:3])).flatten(1, 2)

    def cells(self, grid: Grid) -> Float[Tensor, "b gh gw e"]:
        """Project the cells of one side, without positions."""
        if self.coordinates:
            grid = with_coordinates(grid)
        return self.project(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class AttentionLayer(nn.Module):
    """Self- or cross-attention with a residual and a norm, without a feed-forward network."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = StackedAttention(dim, heads, dropout)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, own: Float[Tensor, "n m d"], other: Float[Tensor, "n k d"]) -> Float[Tensor, "n m d"]:
        """Update the tokens by attention to `other`."""
        return self.norm(own + self.dropout(self.attention(own, self.attention.cache(other))))
