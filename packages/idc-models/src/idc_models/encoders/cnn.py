"""A small residual network."""

from itertools import pairwise

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Encoder
from idc_models.encoders.backbone import load_weights
from idc_models.positions import with_coordinates


class CnnEncoder(Encoder):
    """Encodes with a small residual network; every stage halves the grid.

    With the default three stages an image of 64 px becomes a grid of 8 x 8. The residual block is that of He et al.,
    Deep Residual Learning, CVPR 2016, figure 5 left. Differs from the paper: the stem is a single 3 x 3 convolution of
    stride 2 without pooling, which keeps the detail of small images, and has no residual blocks, which at that
    resolution would cost more than all others together.

    Args:
        widths: Channels of the stem and of each stage; the stride is 2 to the power of their number.
        blocks: Residual blocks in each stage after the stem.
        weights: Start from a checkpoint trained with the same widths and blocks, on other data.
        frozen: Do not train the weights, nor update batch-norm statistics.
        coordinates: Append the coordinates of each cell to its features, as two channels.
    """

    def __init__(
        self,
        *,
        widths: tuple[PositiveInt, ...] = (32, 64, 128),
        blocks: PositiveInt = 1,
        weights: str | None = None,
        frozen: bool = False,
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        self.weights, self.frozen, self.coordinates = weights, frozen, coordinates
        if not widths:
            raise ValueError("encoder 'cnn': widths is empty; expected one number of channels per stage")
        first, self.dim = widths[0], widths[-1] + 2 * coordinates
        layers: list[nn.Module] = [nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(first), nn.ReLU(inplace=True)]
        for narrow, wide in pairwise(widths):
            layers.append(ResidualBlock(narrow, wide, stride=2))
            layers += [ResidualBlock(wide, wide) for _ in range(blocks - 1)]
        self.layers = nn.Sequential(*layers)
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "CnnEncoder":
        """Set the training mode; a frozen encoder stays in eval mode, so batch norms keep their statistics."""
        return super().train(mode and not self.frozen)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw d"]:
        """Encode images with values in [0, 1]."""
        grid = self.layers(image * 4 - 2).permute(0, 2, 3, 1)  # about zero mean and unit variance
        return with_coordinates(grid) if self.coordinates else grid

    def load_pretrained(self) -> None:
        """Load the encoder from the checkpoint `weights`.

        Raises:
            ValueError: The checkpoint's encoder does not fit this one.
            OSError: The file cannot be read.
        """
        if self.weights:
            load_weights(self, self.weights, within="model/encoder.")


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut."""

    def __init__(self, narrow: int, wide: int, stride: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or narrow != wide:
            self.shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, grid: Float[Tensor, "b narrow h w"]) -> Float[Tensor, "b wide gh gw"]:
        """Convolve the grid; a block of stride 2 halves it."""
        return (self.convolutions(grid) + self.shortcut(grid)).relu()
