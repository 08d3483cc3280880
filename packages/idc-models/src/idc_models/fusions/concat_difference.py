"""Concatenation of both grids and their difference."""

import torch
from jaxtyping import Float
from torch import Tensor

from idc_models.fusions.cells import GridFusion


class ConcatDifference(GridFusion):
    """Fuses by concatenating both grids and their difference: before, after, after - before."""

    grids = 3

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Concatenate the two grids and their difference."""
        return torch.cat([before, after, after - before], dim=-1)
