"""Features that are computed once, as the field's repositories have them: a `.npy` file per image, `c h w`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from idc_data.example import ChangeExample
from idc_data.fingerprint import fingerprint
from idc_data.images import image_files, load_image
from idc_data.layout import Folder
from idc_models.contract import Encoder, Grid, Side
from idc_models.images import squeeze
from torch import nn


@torch.no_grad()
def write(pairs: Path, features: Path, encoder: Encoder, image_size: int) -> None:
    """Compute the features of all images of a dataset, in half precision, where `Pairs` looks for them."""
    encoder.load_pretrained()
    for name in image_files(pairs).images:
        image = squeeze(load_image(pairs / name), image_size)[None].float() / 255
        (grid,) = encoder.eval()(image)
        (target := features / name.with_suffix(".npy")).parent.mkdir(parents=True, exist_ok=True)
        np.save(target, grid.movedim(-1, 0).half().numpy())


class Pairs(Folder):
    """A folder of pairs, and a folder that has `train/1_before.npy` for its `train/1_before.png`."""

    def __init__(self, split: str, *, root: Path, features: Path) -> None:
        super().__init__(split, root=root)
        self._files = [features / image.relative_to(root).with_suffix(".npy") for image in self._images]
        if missing := [file for file in self._files if not file.is_file()]:
            raise ValueError(f"{len(missing)} images have no features, such as {str(missing[0])!r}: compute them first")
        self.fingerprint = fingerprint(self.fingerprint, annotations=[], images=self._files)

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        return replace(super().__getitem__(index), inputs=(self._files[2 * index], self._files[2 * index + 1]))


class Cached(Encoder):
    """Takes features that were computed before, and brings them to a width of its own."""

    def __init__(self, *, dim: int = 256, channels: int = 1024, height: int = 14, width: int = 14) -> None:
        super().__init__()
        self.dim, self.features = dim, (channels, height, width)
        self.project = nn.Linear(channels, dim)

    def pair(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Project the cells of both sides; there is no `forward`, since images are nothing to this encoder."""
        old, new = (self.project(side.float().movedim(1, -1)) for side in (before, after))
        return old, new
