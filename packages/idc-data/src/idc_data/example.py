"""The unit of change captioning: two images of a scene and sentences that say what changed between them."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels of the image that the box is drawn on; x and y are the upper left corner."""

SPLITS = ("train", "val", "test")
"""The splits of a dataset, as folder names and as `ChangeExample.split`."""

MAX_PIXELS = 50_000_000
"""The largest image that is decoded unless asked otherwise: 150 MB as RGB."""

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


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


@runtime_checkable
class Reader(Protocol):
    """A sequence of examples: `Reader(split, *, settings...)`.

    A reader that renders may also have `examples(indices) -> list[ChangeExample]`, which the loaders call once a batch.

    Attributes:
        endless: True where any index >= 0 is valid and gives a fresh example; `len` is then what an epoch counts.
        fingerprint: Short hexadecimal identity of data and settings.
    """

    endless: bool
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> ChangeExample: ...


def load_image(source: Path | bytes | np.ndarray, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as RGB pixels, upright.

    The EXIF orientation is applied, transparency lies on white, 16-bit grey is scaled to 8 bits, and of an animation
    the first frame is taken. The size is checked before anything is decoded.

    Args:
        source: A file, the contents of a file, or pixels that are only checked.
        max_pixels: Limit on width x height.

    Raises:
        ValueError: It is no image, is damaged, or is too large; the file is named.
        OSError: The file cannot be opened.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ValueError(f"an image array is {source.dtype} {source.shape}, expected uint8 (height, width, 3)")
        return source
    name = "the image" if isinstance(source, bytes) else f"image {str(source)!r}"
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height <= max_pixels:
                ImageOps.exif_transpose(image, in_place=True)
                return np.array(_as_rgb(image))
            size = f"{image.width} x {image.height} pixels"
    except _BOMB as error:
        raise ValueError(f"{name} is too large: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything, even TypeError
        raise ValueError(f"{name} is damaged or no image: {error}") from error
    raise ValueError(f"{name} has {size}, more than the limit of {max_pixels:,}; scale it down")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its pixels are 32-bit numbers (mode {image.mode}), expected 8 or 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies
