"""A custom input: the model sees edges without colours; pictures and reports show the images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from idc_data.example import ChangeExample
from idc_data.images import load_image
from idc_data.layout import Folder
from idc_models.contract import Encoder, Grid, Side
from idc_models.images import squeeze
from torch import nn


class Pairs(Folder):
    """A folder of pairs whose inputs to the model are the edge strengths of both images, `1 h w`."""

    def __init__(self, split: str, *, root: Path, size: int = 64) -> None:
        super().__init__(split, root=root)
        self._size = size
        self.fingerprint = f"{self.fingerprint}-edges-{size}"  # the inputs are part of the identity

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        example = super().__getitem__(index)
        before, after = (self._edges(side) for side in (example.before, example.after))
        return replace(example, inputs=(before, after))

    def _edges(self, image: Path | np.ndarray) -> np.ndarray:
        grey = squeeze(load_image(image), self._size).float().mean(0).numpy() / 255
        down, right = np.gradient(grey)
        return np.hypot(down, right).astype(np.float32)[None]


class EdgeEncoder(Encoder):
    """Encodes edges with two convolutions; there is no `forward`, because it takes no images."""

    def __init__(self, *, dim: int = 64, size: int = 64) -> None:
        super().__init__()
        self.dim, self.features = dim, (1, size, size)
        self.layers = nn.Sequential(nn.Conv2d(1, dim, 4, stride=4), nn.GELU(), nn.Conv2d(dim, dim, 2, stride=2))

    def pair(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Encode both sides."""
        old, new = (self.layers(side.float()).movedim(1, -1) for side in (before, after))
        return old, new
