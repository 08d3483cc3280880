"""Features that were computed before, in place of an encoder."""

from typing import Literal

from pydantic import PositiveInt

from idc_models.contract import Encoder, Grid, Side
from idc_models.positions import with_coordinates


class FeaturesEncoder(Encoder):
    """Takes features of images that were computed before, and gives them to the fusion as they are.

    By default those that methods for CLEVR-Change take since DUDA (Park et al., Robust Change Captioning, ICCV 2019):
    ResNet-101 with ImageNet weights up to its third stage, of images of 224 x 224 pixels. A model with this encoder
    captions no images: nothing computes their features where it is served.

    Args:
        channels: numbers in a cell.
        height: rows of cells.
        width: cells in a row.
        order: how the axes of a stored array follow each other: channels first (`chw`), or last (`hwc`).
        coordinates: append where each cell is to the grid, as two channels.
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
        """Give both sides with the channels last."""
        return self._grid(before), self._grid(after)

    def _grid(self, side: Side) -> Grid:
        grid = side.movedim(1, -1) if self.order == "chw" else side
        return with_coordinates(grid) if self.coordinates else grid
