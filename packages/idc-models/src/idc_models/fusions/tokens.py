"""What fusions have in common that take the cells of either image as tokens."""

import re

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.attention import StackedAttention
from idc_models.contract import Fusion, Grid
from idc_models.positions import GridTable, with_coordinates


class TokenFusion(Fusion):
    """Projects both grids with the same weights and adds learned positions.

    Args:
        visual_dim: width of a grid cell.
        dim: width of a token.
        heads: attention heads of the layers that a subclass adds, a divisor of `dim`.
        grid_side: largest height and width of a grid, in cells.
        coordinates: append where each cell is to the features, as two channels.

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
        """Give the cells of one side, row by row.

        Raises:
            ValueError: the grid is larger than `grid_side`.
        """
        cells = self.cells(grid)
        return (cells + self.positions(*cells.shape[1:3])).flatten(1, 2)

    def cells(self, grid: Grid) -> Float[Tensor, "b gh gw e"]:
        """Project the cells of one side, without positions."""
        if self.coordinates:
            grid = with_coordinates(grid)
        return self.project(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class AttentionLayer(nn.Module):
    """Attention to the same or to other tokens, the residual, and a norm: a layer without feed-forward network."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = StackedAttention(dim, heads, dropout)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, own: Float[Tensor, "n m d"], other: Float[Tensor, "n k d"]) -> Float[Tensor, "n m d"]:
        """Renew the tokens by what they attend to of the others."""
        return self.norm(own + self.dropout(self.attention(own, self.attention.cache(other))))
