"""A residual block over a grid, used after the Transformers of the remote-sensing methods."""

from jaxtyping import Float
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Convolutions 1 x 1, 3 x 3 and 1 x 1 with batch norms, at half the width in between, and a shortcut.

    Source: He et al., Deep Residual Learning, CVPR 2016, figure 5 right.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.layers = nn.Sequential(
            nn.Conv2d(dim, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, dim, 1),
            nn.BatchNorm2d(dim),
        )

    def forward(self, grid: Float[Tensor, "b d gh gw"]) -> Float[Tensor, "b d gh gw"]:
        """Convolve the grid without changing its size."""
        return (self.layers(grid) + grid).relu()
