"""DUDA's dual attention: a change map of each image, and three vectors for the decoder."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Fused, Fusion, Grid, Rate
from idc_models.positions import with_coordinates


class Duda(Fusion):
    """Fuses by locating the change in each image; the memory has three slots: before, difference, after.

    d = after - before. Two 1 x 1 convolutions, shared by both images, and a sigmoid compute a map of the change from
    each image concatenated with d. The slots l_before and l_after are the features weighted by the map and summed over
    the grid; l_difference = l_after - l_before. The change map is the mean of the two maps. Extras: `map_before` and
    `map_after`.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, equations 1 to 6. Differs from the paper:
    group normalisation and dropout follow the first convolution, as in the published weights. A classifier of change
    types in those weights, which no loss trains, is omitted.

    Args:
        visual_dim: Width of a grid cell.
        dim: Channels between the two convolutions, a multiple of `groups`.
        groups: Number of groups of the group normalisation.
        dropout: Dropout rate before the second convolution.
        coordinates: Append the coordinates of each cell to its features, as two channels.

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
        """Return the change map of one image, and the sum of its features weighted by the map."""
        beside = torch.cat([grid, difference], dim=3).permute(0, 3, 1, 2)
        change_map = self.attend(self.embed(beside)).sigmoid().squeeze(1)
        return change_map, torch.einsum("bhw,bhwd->bd", change_map, grid)
