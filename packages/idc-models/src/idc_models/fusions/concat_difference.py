"""Both grids and their difference, side by side."""

import torch
from jaxtyping import Float
from torch import Tensor

from idc_models.fusions.cells import GridFusion


class ConcatDifference(GridFusion):
    """Fuses by laying both grids and their difference side by side: before, after, after - before."""

    grids = 3

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Concatenates the two grids and their difference."""
        return torch.cat([before, after, after - before], dim=-1)
