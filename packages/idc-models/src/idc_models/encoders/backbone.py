"""What encoders around an existing image classifier have in common: input scaling, freezing, weight files."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from idc_models.contract import Encoder, Grid
from idc_models.encoders.weight_files import read_weights, with_timm_names
from idc_models.positions import with_coordinates

RGB = tuple[float, float, float]


class BackboneEncoder(Encoder):
    """Keeps a backbone with the scaling of its input; a frozen one stays in eval mode and learns nothing.

    A subclass says in `encode` what the backbone makes of scaled images.
    """

    backbone: Any  # a module with the methods of its library
    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, dim: int, *, mean: RGB, std: RGB, frozen: bool, coordinates: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim = dim + 2 * coordinates
        self.frozen, self.coordinates = frozen, coordinates
        # Settings, not weights: a checkpoint's spec holds them already.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "BackboneEncoder":
        """Sets the training mode, which a frozen encoder never enters: its batch norms keep their statistics."""
        return super().train(mode and not self.frozen)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encodes images with values in [0, 1]."""
        grid = self.encode(self.scaled(image))
        return with_coordinates(grid) if self.coordinates else grid

    def encode(self, scaled: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encodes images that are scaled to what the backbone was trained on."""
        raise NotImplementedError

    def scaled(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Scales an image from [0, 1] to what the backbone was trained on."""
        return (image - self.mean) / self.std


def load_weights(model: nn.Module, path: str, *, ignore: Sequence[str] = (), within: str = "") -> None:
    """Loads a file of weights that must fit the model entry by entry.

    Args:
        model: takes the weights, converted to its own float type.
        path: a `.safetensors`, `.npz` or `.pth` file, as `read_weights` takes it.
        ignore: prefixes of entries in the file that the model has no use for, such as a classifier's head.
        within: prefix of the model's entries in a larger file, such as a checkpoint; a file without it is taken whole.

    Raises:
        ValueError: not such a file, or not the weights of this model; the message says what differs.
        OSError: the file cannot be read.
    """
    given = with_timm_names(model, read_weights(path))
    if inner := {name.removeprefix(within): value for name, value in given.items() if name.startswith(within)}:
        given = inner
    prefixes = tuple(f"{prefix}." for prefix in ignore)
    given = {name: value for name, value in given.items() if not name.startswith(prefixes)}
    wanted = model.state_dict()
    reshaped = [name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape]
    differences = {
        "missing": wanted.keys() - given.keys(),
        "not in the model": given.keys() - wanted.keys(),
        "of another shape": set(reshaped),
    }
    told = "; ".join(f"{_some(entries)} {what}" for what, entries in differences.items() if entries)
    if told:
        raise ValueError(f"weights {path!r} do not fit this backbone: {told}")
    model.load_state_dict(given)


def _some(entries: set[str], shown: int = 3) -> str:
    rest = f" and {len(entries) - shown} more" if len(entries) > shown else ""
    return ", ".join(sorted(entries)[:shown]) + rest
