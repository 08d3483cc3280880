"""Position encodings of tokens and grid cells: sinusoidal, learned, or plain coordinates."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoids(length: int, dim: int, *, like: Tensor) -> Float[Tensor, "length dim"]:
    """Compute the sinusoidal encodings of a sequence, with the device and type of `like`.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.5. Differs from the paper: all sines come
    before all cosines, which is a fixed permutation of the dimensions.
    """
    wavelengths = torch.arange(math.ceil(dim / 2), device=like.device) * (-2 * math.log(10_000.0) / dim)
    angles = torch.arange(length, device=like.device)[:, None] * wavelengths.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim].to(like.dtype)


def interleaved(length: int, dim: int, *, like: Tensor) -> Float[Tensor, "length dim"]:
    """Compute the same encodings in the paper's order: sine and cosine of each wavelength side by side."""
    even = sinusoids(length, dim + dim % 2, like=like)
    return torch.stack(even.chunk(2, dim=1), dim=2).flatten(1)[:, :dim]


def grid_sinusoids(height: int, width: int, dim: int, *, like: Tensor) -> Float[Tensor, "height width dim"]:
    """Compute the sinusoidal encodings of a grid: half of the dimensions encode the row, half the column."""
    rows = sinusoids(height, dim // 2, like=like)[:, None].expand(-1, width, -1)
    columns = sinusoids(width, dim - dim // 2, like=like)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2)


def grid_coordinates(height: int, width: int, *, like: Tensor) -> Float[Tensor, "height width 2"]:
    """Compute the coordinates of each cell of a grid: x = 2 column / width - 1, then y = 2 row / height - 1.

    They include -1 but not +1. Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019; later methods use
    the same two channels.
    """
    rows = torch.arange(height, device=like.device) * 2 / height - 1
    columns = torch.arange(width, device=like.device) * 2 / width - 1
    return torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)], dim=2).to(like.dtype)


def with_coordinates(grid: Float[Tensor, "b gh gw d"]) -> Float[Tensor, "b gh gw d+2"]:
    """Append the coordinates of each cell to its features, for the setting `coordinates` of fusions."""
    places = grid_coordinates(*grid.shape[1:3], like=grid)
    return torch.cat([grid, places.expand(len(grid), -1, -1, -1)], dim=3)


class GridTable(nn.Module):
    """Learned position encodings of grid cells: the first half of the width encodes the column, the second the row.

    Args:
        dim: Width of a cell.
        side: Maximum height and width of a grid in cells; a smaller grid uses the first rows and columns.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.columns, self.rows = nn.Embedding(side, dim // 2), nn.Embedding(side, dim - dim // 2)
        for table in (self.columns, self.rows):
            nn.init.xavier_uniform_(table.weight)

    def forward(self, height: int, width: int) -> Float[Tensor, "height width d"]:
        """Return the position encodings of a grid.

        Raises:
            ValueError: The grid is larger than the table.
        """
        side = len(self.rows.weight)
        if max(height, width) > side:
            raise ValueError(
                f"the grid is {height} x {width} cells, but the fusion has positions for at most {side} x {side}; "
                "raise its grid_side, or reduce the image size"
            )
        columns = self.columns.weight[:width].expand(height, -1, -1)
        rows = self.rows.weight[:height, None].expand(-1, width, -1)
        return torch.cat([columns, rows], dim=2)
