"""Base class of encoders around an existing image classifier: input scaling, freezing, weight files."""

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
    """Scales images for a backbone; a frozen backbone stays in eval mode and is not trained.

    A subclass implements `encode`, which runs the backbone on scaled images.
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
        # These are settings, which the spec in a checkpoint already holds.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "BackboneEncoder":
        """Set the training mode; a frozen encoder stays in eval mode, so batch norms keep their statistics."""
        return super().train(mode and not self.frozen)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encode images with values in [0, 1]."""
        grid = self.encode(self.scaled(image))
        return with_coordinates(grid) if self.coordinates else grid

    def encode(self, scaled: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encode images that are already scaled for the backbone."""
        raise NotImplementedError

    def scaled(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Scale images from [0, 1] to the backbone's mean and standard deviation."""
        return (image - self.mean) / self.std


def load_weights(model: nn.Module, path: str, *, ignore: Sequence[str] = (), within: str = "") -> None:
    """Load a file of weights, whose names and shapes must match the model's.

    Args:
        model: The model; weights are converted to its own float type.
        path: A `.safetensors`, `.npz` or `.pth` file, as in `read_weights`.
        ignore: Prefixes of entries in the file to skip, such as a classifier's head.
        within: Prefix of the model's entries in a larger file, such as a checkpoint; if no entry has it, all are used.

    Raises:
        ValueError: The file has another format, or its weights do not fit the model; the message names the differences.
        OSError: The file cannot be read.
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
