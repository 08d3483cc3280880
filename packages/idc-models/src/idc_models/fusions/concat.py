"""Concatenation of both grids."""

import torch
from jaxtyping import Float
from torch import Tensor

from idc_models.fusions.cells import GridFusion


class Concat(GridFusion):
    """Fuses by concatenating the cells of both grids: before, after.

    Half of the projection's outputs are initialised as differences: the weights of the after grid are those of the
    before grid, negated. From purely random weights it takes long to learn that the two grids must be compared.
    """

    grids = 2

    def initialize(self, weight: Float[Tensor, "dim combined k k"]) -> None:
        """Initialise the first half of the outputs as differences."""
        outputs, inputs = weight.shape[0] // 2, weight.shape[1] // 2
        weight[:outputs, inputs:] = -weight[:outputs, :inputs]

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Concatenate the two grids."""
        return torch.cat([before, after], dim=-1)
