"""Difference of both grids."""

from jaxtyping import Float
from torch import Tensor

from idc_models.fusions.cells import GridFusion


class Difference(GridFusion):
    """Fuses by the difference of the grids, after - before: zero where nothing changed."""

    grids = 1

    def combine(
        self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]
    ) -> Float[Tensor, "b gh gw combined"]:
        """Subtract the before grid from the after grid."""
        return after - before
