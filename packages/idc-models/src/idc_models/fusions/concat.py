"""Both grids, side by side."""

import torch
from jaxtyping import Float
from torch import Tensor

from idc_models.fusions.cells import GridFusion


class Concat(GridFusion):
    """Fuses by laying the cells of both grids side by side: before, after.

    Half of the projection's outputs start as plain differences (the weights of the after grid are those of the before
    grid, negated), which training may keep or change: from random weights it takes long to find out that the two grids
    are to be compared.
    """

    grids = 2

    def initialize(self, weight: Float[Tensor, "dim combined k k"]) -> None:
        """Makes the first half of the outputs differences."""
        outputs, inputs = weight.shape[0] // 2, weight.shape[1] // 2
        weight[:outputs, inputs:] = -weight[:outputs, :inputs]

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Concatenates the two grids."""
        return torch.cat([before, after], dim=-1)
