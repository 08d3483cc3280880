"""Where a token or a grid cell is: sines and cosines, learned tables, or plain coordinates."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoids(length: int, dim: int, *, like: Tensor) -> Float[Tensor, "length dim"]:
    """Computes the position codes of a sequence, on the device and in the type of `like`.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.5. Differs from the paper: all sines come
    first and then all cosines, which is a fixed permutation of the dimensions.
    """
    wavelengths = torch.arange(math.ceil(dim / 2), device=like.device) * (-2 * math.log(10_000.0) / dim)
    angles = torch.arange(length, device=like.device)[:, None] * wavelengths.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim].to(like.dtype)


def interleaved(length: int, dim: int, *, like: Tensor) -> Float[Tensor, "length dim"]:
    """Computes the same codes in the paper's own order: sine and cosine of each wavelength side by side."""
    even = sinusoids(length, dim + dim % 2, like=like)
    return torch.stack(even.chunk(2, dim=1), dim=2).flatten(1)[:, :dim]


def grid_sinusoids(height: int, width: int, dim: int, *, like: Tensor) -> Float[Tensor, "height width dim"]:
    """Computes the position codes of a grid of any size: half of the dimensions tell the row, half the column."""
    rows = sinusoids(height, dim // 2, like=like)[:, None].expand(-1, width, -1)
    columns = sinusoids(width, dim - dim // 2, like=like)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2)


def grid_coordinates(height: int, width: int, *, like: Tensor) -> Float[Tensor, "height width 2"]:
    """Compute where each cell of a grid is: x = 2 column / width - 1, then y = 2 row / height - 1.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019; the methods that build on it use the same two
    channels. -1 is reached, +1 is not.
    """
    rows = torch.arange(height, device=like.device) * 2 / height - 1
    columns = torch.arange(width, device=like.device) * 2 / width - 1
    return torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)], dim=2).to(like.dtype)


def with_coordinates(grid: Float[Tensor, "b gh gw d"]) -> Float[Tensor, "b gh gw d+2"]:
    """Append the coordinates of each cell to its features; the setting `coordinates` of a part asks for it."""
    places = grid_coordinates(*grid.shape[1:3], like=grid)
    return torch.cat([grid, places.expand(len(grid), -1, -1, -1)], dim=3)


class GridTable(nn.Module):
    """Learned positions of grid cells: the first half of the width tells the column, the second half the row.

    Args:
        dim: width of a cell.
        side: largest height and width of a grid, in cells; a smaller grid uses the first rows and columns.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.columns, self.rows = nn.Embedding(side, dim // 2), nn.Embedding(side, dim - dim // 2)
        for table in (self.columns, self.rows):
            nn.init.xavier_uniform_(table.weight)

    def forward(self, height: int, width: int) -> Float[Tensor, "height width d"]:
        """Give the positions of a grid.

        Raises:
            ValueError: the grid is larger than the table.
        """
        side = len(self.rows.weight)
        if max(height, width) > side:
            raise ValueError(
                f"the grid is {height} x {width} cells, but positions are learned for {side} x {side} at most; raise"
                " the fusion's grid_side, or make the images smaller"
            )
        columns = self.columns.weight[:width].expand(height, -1, -1)
        rows = self.rows.weight[:height, None].expand(-1, width, -1)
        return torch.cat([columns, rows], dim=2)
