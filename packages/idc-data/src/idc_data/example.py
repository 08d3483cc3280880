"""An example of change captioning: two images of a scene and sentences that describe the change."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels of the image; x and y are the upper left corner."""

SPLITS = ("train", "val", "test")
"""The splits of a dataset, as folder names and as `ChangeExample.split`."""


@dataclass(frozen=True)
class Regions:
    """Where the change is, as boxes on each image; empty on the side where the object does not exist."""

    before: tuple[Box, ...]
    after: tuple[Box, ...]


@dataclass(frozen=True)
class ChangeExample:
    """A pair of images and the captions of their difference.

    Attributes:
        id: Id of the pair, unique in its dataset.
        before: The before image: a file, or pixels as uint8 `h w 3`.
        after: The after image, likewise.
        references: Captions of the change written by people or generated exactly, at least one.
        changed: False for a distractor: the same scene from another viewpoint or in other light.
        change_type: As the dataset names it (color, texture, add, drop, move, ...); `none` for a distractor.
        split: train, val or test.
        regions: Boxes of the change on each image, if known.
        provenance: Where the pair comes from (generator and seed, source file, ...).
        truth: Facts about a procedural scene, to judge statements about it.
        inputs: Precomputed features of before and after, which the model sees instead of the images: each a `.npy` file
            or an array of floats. Reports still show the images.
    """

    id: str
    before: Path | np.ndarray
    after: Path | np.ndarray
    references: tuple[str, ...]
    changed: bool
    change_type: str
    split: str = "train"
    regions: Regions | None = None
    provenance: dict[str, Any] | None = None
    truth: dict[str, Any] | None = None
    inputs: tuple[Path | np.ndarray, Path | np.ndarray] | None = None


@runtime_checkable
class Reader(Protocol):
    """A sequence of examples: `Reader(split, *, settings...)`.

    A reader that renders may also have `examples(indices) -> list[ChangeExample]`, which the loaders call once per
    batch. The attribute `shows` may describe its images in a few words, for users of a trained model.

    Attributes:
        endless: True if any index >= 0 is valid and yields a new example; `len` is then the length of an epoch.
        fingerprint: Short hexadecimal identity of data and settings.
    """

    endless: bool
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> ChangeExample: ...


def read_examples(reader: Reader, rows: Iterable[int]) -> list[ChangeExample]:
    """Read some examples; a reader that renders does so all at once."""
    render = getattr(reader, "examples", None)
    return render(rows) if render else [reader[row] for row in rows]
