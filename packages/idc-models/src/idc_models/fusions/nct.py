"""NCT: attention to neighbouring cells and to the other image, and a change map of what remains."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, scaled_dot_product_attention

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.duda import Duda
from idc_models.fusions.tokens import TokenFusion


class Nct(TokenFusion):
    """Fuses what remains after neighbourhood attention; the memory has three slots: before, difference, after.

    Each cell attends to its similar neighbours, then to the other image, which yields what both have in common. What
    remains of both images after subtracting it is concatenated with each image, and DUDA's attention computes a change
    map and a vector from each. The change map is the mean of the two maps. Extras: `map_before` and `map_after`.

    Source: Tu et al., Neighborhood Contrastive Transformer for Change Captioning, TMM 2023. Differs from the paper: the
    decoder does not learn syntactic dependencies of the words, which would need a parser; the published weight of that
    loss is 0.01. Our choices where only an outline was available: queries, keys and values of the attention to the
    other image are depth-wise convolutions only, both images share their weights, and no projection follows.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of a cell in the layers and of a memory slot; published: 512.
        heads: Number of attention heads, a divisor of `dim`; published: 8.
        neighbour_dim: Width in which neighbours are compared; published: 256.
        map_dim: Channels between the two convolutions of the maps, a multiple of `groups`; published: 128.
        groups: Number of groups of the group normalisation of the maps; published: 32.
        dropout: Dropout rate on the cells, on attention weights, after attention and in the maps; published: 0.1.
        grid_side: Maximum height and width of a grid, in cells.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: `heads` does not divide `dim`, `groups` does not divide `map_dim`, or a grid is larger than
            `grid_side`.
    """

    slots: ClassVar[int | None] = 3

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 256,
        heads: PositiveInt = 8,
        neighbour_dim: PositiveInt = 128,
        map_dim: PositiveInt = 128,
        groups: PositiveInt = 32,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        if map_dim % groups:
            raise ValueError(f"fusion 'nct': map_dim is {map_dim!r} and groups is {groups!r}; groups must divide it")
        self.memory_dim = dim
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.neighbours = Neighbours(dim, neighbour_dim)
        self.common = Common(dim, heads, dropout)
        self.difference, self.contrast = nn.Linear(2 * dim, dim), nn.Linear(2 * dim, dim)
        self.maps = Duda(dim, dim=map_dim, groups=groups, dropout=dropout)
        self.output = nn.Linear(dim, dim)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        size = (before.shape[1], before.shape[2])
        sides = torch.cat([self.tokens(before), self.tokens(after)]).unflatten(1, size)
        own, other = sides = self.neighbours(sides.permute(0, 3, 1, 2)).chunk(2)
        left = torch.cat(sides) - self.common(torch.cat(sides), torch.cat([other, own]))
        own, other, *parts = (each.permute(0, 2, 3, 1) for each in (own, other, *left.chunk(2)))
        difference = self.difference(torch.cat(parts, dim=3))
        (map_before, seen_before), (map_after, seen_after) = (self.maps.look(each, difference) for each in (own, other))
        changed = seen_after - seen_before
        contrast = self.contrast(torch.cat([changed, -changed], dim=1))
        memory = self.output(torch.stack([seen_before, contrast, seen_after], dim=1))
        extras = {"map_before": map_before, "map_after": map_after}
        return Fused(memory, change_map=(map_before + map_after) / 2, extras=extras)

    def cells(self, grid: Grid) -> Float[Tensor, "b gh gw e"]:
        """Project the cells of one side, and apply a norm and dropout."""
        return self.dropout(self.norm(super().cells(grid)))


class Neighbours(nn.Module):
    """Attention of each cell to its 3 x 3 neighbourhood by cosine similarity, with a residual."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(dim, inner, 1) for _ in range(3))
        self.output = nn.Conv2d(inner, dim, 1)

    def forward(self, cells: Float[Tensor, "n d gh gw"]) -> Float[Tensor, "n d gh gw"]:
        """Update the cells; the grid is padded by repeating its border."""
        height, width = cells.shape[2:]
        queries = normalize(self.query(cells), dim=1)
        wide = (pad(each, (1, 1, 1, 1), "replicate") for each in (normalize(self.key(cells), dim=1), self.value(cells)))
        keys, values = (
            [each[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)] for each in wide
        )
        weights = torch.stack([(queries * key).sum(1, keepdim=True) for key in keys]).softmax(0)
        # One neighbour at a time: a window of all nine would be nine times as large as the cells.
        read = torch.zeros_like(queries)
        for weight, value in zip(weights, values, strict=True):
            read = read + weight * value
        return cells + self.output(read)


class Common(nn.Module):
    """Attention to the other image over depth-wise convolutions, with a residual and a norm."""

    def __init__(self, dim: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.query, self.key, self.value = (nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in range(3))
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(rate)

    def forward(self, own: Float[Tensor, "n d gh gw"], other: Float[Tensor, "n d gh gw"]) -> Float[Tensor, "n d gh gw"]:
        """Return what each cell has in common with the other image."""
        parts = (
            convolved.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for convolved in (self.query(own), self.key(other), self.value(other))
        )
        read = scaled_dot_product_attention(*parts, dropout_p=self.rate if self.training else 0.0)
        read = read.transpose(2, 3).flatten(1, 2).unflatten(2, own.shape[2:])
        return self.norm((own + self.dropout(read)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
