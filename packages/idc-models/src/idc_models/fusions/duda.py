"""DUDA's dual attention: a map of the change in either image, and three vectors for the speaker."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Fused, Fusion, Grid, Rate
from idc_models.positions import with_coordinates


class Duda(Fusion):
    """Fuses by looking for the change in each image; the memory has three slots: before, difference, after.

    d = after - before. Each image with d beside it gives a map of the change through two convolutions 1 x 1, shared by
    the images, and a sigmoid. The slots l_before and l_after are the sums over the grid of the map times the features;
    l_difference = l_after - l_before. The change map is the mean of the two maps. Extras: `map_before` and `map_after`.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, equations 1 to 6. Differs from the paper: the
    first convolution is followed by group normalisation and dropout, as in the published weights; what those weights
    have besides, a classifier of the kind of change that no loss reaches, is left out.

    Args:
        visual_dim: width of a grid cell.
        dim: channels between the two convolutions, a multiple of `groups`.
        groups: of the group normalisation.
        dropout: before the second convolution.
        coordinates: append where each cell is to the features, as two channels.

    Raises:
        ValueError: `groups` does not divide `dim`.
    """

    slots: ClassVar[int | None] = 3

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 128,
        groups: PositiveInt = 32,
        dropout: Rate = 0.5,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim)
        if dim % groups:
            raise ValueError(f"fusion 'duda': dim is {dim!r} and groups is {groups!r}; groups must divide dim")
        self.coordinates = coordinates
        self.memory_dim = visual_dim + 2 * coordinates
        self.embed = nn.Sequential(
            nn.Conv2d(2 * self.memory_dim, dim, 1), nn.GroupNorm(groups, dim), nn.Dropout(dropout), nn.ReLU()
        )
        self.attend = nn.Conv2d(dim, 1, 1)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        if self.coordinates:
            before, after = with_coordinates(before), with_coordinates(after)
        difference = after - before
        map_before, seen_before = self.look(before, difference)
        map_after, seen_after = self.look(after, difference)
        memory = torch.stack([seen_before, seen_after - seen_before, seen_after], dim=1)
        extras = {"map_before": map_before, "map_after": map_after}
        return Fused(memory, change_map=(map_before + map_after) / 2, extras=extras)

    def look(
        self, grid: Float[Tensor, "b gh gw d"], difference: Float[Tensor, "b gh gw d"]
    ) -> tuple[Float[Tensor, "b gh gw"], Float[Tensor, "b d"]]:
        """Give the map of the change in one image, and the sum of its features over the map."""
        beside = torch.cat([grid, difference], dim=3).permute(0, 3, 1, 2)
        change_map = self.attend(self.embed(beside)).sigmoid().squeeze(1)
        return change_map, torch.einsum("bhw,bhwd->bd", change_map, grid)
