"""What fusions have in common that work cell by cell: the memory has one slot per grid cell."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from idc_models.contract import Fused, Fusion
from idc_models.encoders.cnn import ResidualBlock
from idc_models.positions import grid_sinusoids, with_coordinates


class GridFusion(Fusion):
    """Puts two grids together cell by cell, mixes neighbours, and adds where each cell is.

    A subclass says in `combine` how two cells become one, and in `grids` how many times wider that one is.

    Args:
        visual_dim: width of a grid cell.
        dim: width of the memory; None keeps the combined cells as they are.
        kernel: 1 or 3, side of the convolution that projects the combined cells to `dim`.
        layers: residual blocks that look at the neighbouring cells; they help to say which object it is.
        coordinates: append where each cell is to the combined cells, as two channels.
    """

    grids: ClassVar[int]

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt | None = 256,
        kernel: Literal[1, 3] = 1,
        layers: NonNegativeInt = 1,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim)
        self.coordinates = coordinates
        combined = self.grids * visual_dim + 2 * coordinates
        self.memory_dim = dim or combined
        project: list[nn.Module] = []
        if dim:
            convolution = nn.Conv2d(combined, dim, kernel, padding=kernel // 2, bias=False)
            if not convolution.weight.is_meta:  # arithmetic without memory takes seconds to import
                self.initialize(convolution.weight.data[:, : self.grids * visual_dim])
            project = [convolution, nn.BatchNorm2d(dim), nn.ReLU()]
        self.layers = nn.Sequential(*project, *(ResidualBlock(self.memory_dim, self.memory_dim) for _ in range(layers)))
        self.position_scale = nn.Parameter(torch.tensor(0.1))

    def initialize(self, weight: Float[Tensor, "dim combined k k"]) -> None:
        """Sets the first weights of the projection, in place; by default they stay as they were drawn."""

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Makes one grid of two."""
        raise NotImplementedError

    def forward(self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]) -> Fused:
        """Fuses the grids of the before and the after image; the memory holds the cells row by row."""
        grid = self.combine(before, after)
        if self.coordinates:
            grid = with_coordinates(grid)
        grid = self.layers(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        height, width = grid.shape[1:3]
        # Faint at first: what a cell shows has to be learnt before where it is. There is no norm per cell, which would
        # make the many cells where nothing changed as loud as the few where something did.
        memory = grid + self.position_scale * grid_sinusoids(height, width, self.memory_dim, like=grid)
        return Fused(memory.flatten(1, 2), grid=(height, width))
