"""What both fusions of MCCFormers have in common: the projection, the positions, and a feed-forward network."""

from jaxtyping import Float
from torch import Tensor, nn

from idc_models.contract import Fusion, Grid
from idc_models.positions import GridTable, with_coordinates


class Mccformers(Fusion):
    """Projects both grids with the same weights and adds learned positions; the memory is twice as wide."""

    def __init__(self, visual_dim: int, *, dim: int, heads: int, grid_side: int, coordinates: bool) -> None:
        super().__init__(visual_dim)
        if dim % heads:
            name = "mccformers-" + type(self).__name__[-1].lower()
            raise ValueError(f"fusion {name!r}: dim is {dim!r} and heads is {heads!r}; heads must divide dim")
        self.coordinates = coordinates
        self.memory_dim = 2 * dim
        self.project = nn.Conv2d(visual_dim + 2 * coordinates, dim, 1)
        self.positions = GridTable(dim, grid_side)

    def tokens(self, grid: Grid) -> Float[Tensor, "b m e"]:
        """Give the cells of one side, row by row."""
        if self.coordinates:
            grid = with_coordinates(grid)
        projected = self.project(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (projected + self.positions(*grid.shape[1:3])).flatten(1, 2)
