"""Base class of fusions that work cell by cell: the memory has one slot per grid cell."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from idc_models.contract import Fused, Fusion
from idc_models.encoders.cnn import ResidualBlock
from idc_models.positions import grid_sinusoids, with_coordinates


class GridFusion(Fusion):
    """Combines two grids cell by cell, mixes neighbouring cells, and adds position encodings.

    A subclass defines `combine`, which makes one cell of two, and `grids`, how many times wider that cell is.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the memory; None skips the projection of the combined cells.
        kernel: Kernel size, 1 or 3, of the convolution that projects the combined cells to `dim`.
        layers: Residual blocks over neighbouring cells, which help to identify the object.
        coordinates: Append the coordinates of each cell to the combined cells, as two channels.
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
            if not convolution.weight.is_meta:  # arithmetic on the meta device takes seconds to import
                self.initialize(convolution.weight.data[:, : self.grids * visual_dim])
            project = [convolution, nn.BatchNorm2d(dim), nn.ReLU()]
        self.layers = nn.Sequential(*project, *(ResidualBlock(self.memory_dim, self.memory_dim) for _ in range(layers)))
        self.position_scale = nn.Parameter(torch.tensor(0.1))

    def initialize(self, weight: Float[Tensor, "dim combined k k"]) -> None:
        """Initialise the weights of the projection in place; by default they stay random."""

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Combine two grids into one."""
        raise NotImplementedError

    def forward(self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]) -> Fused:
        """Fuse the grids of the before and the after image; the memory holds the cells row by row."""
        grid = self.combine(before, after)
        if self.coordinates:
            grid = with_coordinates(grid)
        grid = self.layers(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        height, width = grid.shape[1:3]
        # Positions have a small scale at first, so that content is learned before position. A norm per cell would give
        # the many cells without a change the same magnitude as the few with one.
        memory = grid + self.position_scale * grid_sinusoids(height, width, self.memory_dim, like=grid)
        return Fused(memory.flatten(1, 2), grid=(height, width))
