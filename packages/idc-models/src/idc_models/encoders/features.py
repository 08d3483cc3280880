"""Precomputed features instead of an encoder."""

from typing import Literal

from pydantic import PositiveInt

from idc_models.contract import Encoder, Grid, Side
from idc_models.positions import with_coordinates


class FeaturesEncoder(Encoder):
    """Passes precomputed features of images to the fusion unchanged.

    The default is the shape that methods for CLEVR-Change use since DUDA (Park et al., Robust Change Captioning, ICCV
    2019): ResNet-101 with ImageNet weights up to its third stage, for images of 224 x 224 pixels. A model with this
    encoder cannot caption images, because nothing computes their features when it is served.

    Args:
        channels: Width of a cell.
        height: Number of rows of cells.
        width: Number of cells per row.
        order: Order of the axes of a stored array: channels first (`chw`) or last (`hwc`).
        coordinates: Append the coordinates of each cell to its features, as two channels.
    """

    def __init__(
        self,
        *,
        channels: PositiveInt = 1024,
        height: PositiveInt = 14,
        width: PositiveInt = 14,
        order: Literal["chw", "hwc"] = "chw",
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.order, self.coordinates = channels + 2 * coordinates, order, coordinates
        self.features = (channels, height, width) if order == "chw" else (height, width, channels)

    def pair(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Return both sides with channels last."""
        return self._grid(before), self._grid(after)

    def _grid(self, side: Side) -> Grid:
        grid = side.movedim(1, -1) if self.order == "chw" else side
        return with_coordinates(grid) if self.coordinates else grid
