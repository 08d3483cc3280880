"""A residual block over a grid, as the methods for remote sensing have it after their Transformers."""

from jaxtyping import Float
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Half as wide between a 1 x 1, a 3 x 3 and a 1 x 1 convolution, with batch norms, beside a short cut.

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
        """Convolve the grid; its size stays."""
        return (self.layers(grid) + grid).relu()
