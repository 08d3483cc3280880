"""Image files as pixels: one reader for datasets, commands, the page and served models.

It needs NumPy and Pillow only, so that a served model can carry it.
"""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 50_000_000
"""The largest image that is decoded unless asked otherwise: 150 MB as RGB."""

_NEVER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow knows and does not decode by itself: EPS, for one, is a program that Ghostscript would run."""

_SYSTEM = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}
"""Files and folders that systems leave beside images; others begin with a dot."""

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageFiles(NamedTuple):
    """The files below a folder, in the order of their names, relative to it.

    Attributes:
        images: Those whose ending is that of an image.
        others: All others, without those that `is_hidden`.
    """

    images: list[Path]
    others: list[Path]


def image_files(folder: Path) -> ImageFiles:
    """List the images below a folder, by the endings of their names, and what else lies there."""
    found = ImageFiles([], [])
    for path in sorted(each.relative_to(folder) for each in folder.rglob("*") if each.is_file()):
        if not is_hidden(path):
            (found.images if path.suffix.lower() in endings() else found.others).append(path)
    return found


def is_hidden(path: Path) -> bool:
    """Whether a path leads to what no listing shows: macOS writes `._x.png` beside every `x.png`."""
    return any(part.startswith(".") and part != ".." or part in _SYSTEM for part in path.parts)


@cache
def endings() -> frozenset[str]:
    """The endings of the images that can be read, such as `.png`."""
    known = Image.registered_extensions()
    return frozenset(ending for ending, kind in known.items() if kind in _formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NEVER)


def load_image(
    source: Path | bytes | np.ndarray | Image.Image,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as RGB pixels, upright.

    The EXIF orientation is applied, transparency lies on white, 16-bit grey is scaled to 8 bits, and of an animation
    the first frame is taken. The size is checked before anything is decoded.

    Args:
        source: A file, the contents of a file, pixels that are only checked, or an image of Pillow.
        max_pixels: Limit on width x height.
        formats: Names that Pillow knows formats by; others are refused. By default all that Pillow decodes by itself.

    Raises:
        ValueError: It is no image, is damaged, or is too large; the file is named.
        OSError: The file cannot be opened.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ValueError(f"an image array is {source.dtype} {source.shape}, expected uint8 (height, width, 3)")
        return source
    name = f"image {str(source)!r}" if isinstance(source, Path) else "the image"
    data = source.read_bytes() if isinstance(source, Path) else source
    try:
        with _open(data, formats or _formats()) as image:
            if image.width * image.height <= max_pixels:
                ImageOps.exif_transpose(image, in_place=True)
                return np.array(_as_rgb(image))
            size = f"{image.width} x {image.height} pixels"
    except _BOMB as error:
        raise ValueError(f"{name} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is damaged or no image: its beginning is of no known format") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything, even TypeError
        raise ValueError(f"{name} is damaged or no image: {error}") from error
    raise ValueError(f"{name} has {size}, more than the limit of {max_pixels:,}; scale it down")


def _open(source: bytes | Image.Image, formats: tuple[str, ...]) -> Image.Image:
    if isinstance(source, Image.Image):
        return ImageOps.exif_transpose(source)  # a copy: the caller's image stays open, and as it is
    return Image.open(io.BytesIO(source), formats=formats)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its pixels are 32-bit numbers (mode {image.mode}), expected 8 or 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies
