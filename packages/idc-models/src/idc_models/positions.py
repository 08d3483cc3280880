"""Where a token or a grid cell is, written as sines and cosines of several wavelengths."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoids(length: int, dim: int, *, like: Tensor) -> Float[Tensor, "length dim"]:
    """Computes the position codes of a sequence, on the device and in the type of `like`.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.5. Differs from the paper: all sines come
    first and then all cosines, which is a fixed permutation of the dimensions.
    """
    wavelengths = torch.arange(math.ceil(dim / 2), device=like.device) * (-2 * math.log(10_000.0) / dim)
    angles = torch.arange(length, device=like.device)[:, None] * wavelengths.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim].to(like.dtype)


def grid_sinusoids(height: int, width: int, dim: int, *, like: Tensor) -> Float[Tensor, "height width dim"]:
    """Computes the position codes of a grid of any size: half of the dimensions tell the row, half the column."""
    rows = sinusoids(height, dim // 2, like=like)[:, None].expand(-1, width, -1)
    columns = sinusoids(width, dim - dim // 2, like=like)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2)
