"""The unit of change captioning: two images of a scene and sentences that say what changed between them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels of the image that the box is drawn on; x and y are the upper left corner."""

SPLITS = ("train", "val", "test")
"""The splits of a dataset, as folder names and as `ChangeExample.split`."""


@dataclass(frozen=True)
class Regions:
    """Where the change is, as boxes on each image; empty on the side where a thing does not exist."""

    before: tuple[Box, ...]
    after: tuple[Box, ...]


@dataclass(frozen=True)
class ChangeExample:
    """A pair of images and the captions of their difference.

    Attributes:
        id: Name of the pair, unique in its dataset.
        before: The earlier image: a file, or pixels as uint8 `h w 3`.
        after: The later image, likewise.
        references: Human (or exact) captions of the change, at least one.
        changed: False for a distractor: same scene, other viewpoint or light.
        change_type: As the dataset names it (color, texture, add, drop, move, ...); `none` for a distractor.
        split: train, val or test.
        regions: Boxes of the change on either image, where known.
        provenance: Where the pair comes from (generator and seed, source file, ...).
        truth: Facts of a procedural scene that a statement about it can be judged by.
        inputs: What the model sees instead of the images: features of before and of after that were computed before,
            each as a `.npy` file or as an array of floats. Pictures and reports still show the images.
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

    A reader that renders may also have `examples(indices) -> list[ChangeExample]`, which the loaders call once a batch.
    `shows` may say in a few words what its images show; those who use a trained model are told.

    Attributes:
        endless: True where any index >= 0 is valid and gives a fresh example; `len` is then what an epoch counts.
        fingerprint: Short hexadecimal identity of data and settings.
    """

    endless: bool
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> ChangeExample: ...


def read_examples(reader: Reader, rows: Iterable[int]) -> list[ChangeExample]:
    """Read some examples of a reader, all at once where it renders."""
    render = getattr(reader, "examples", None)
    return render(rows) if render else [reader[row] for row in rows]
