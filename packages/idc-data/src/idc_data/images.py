"""Reads image files as pixels, for datasets, commands, the page and served models.

It needs only NumPy and Pillow, so that served models can include it.
"""

import importlib
import io
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageOps, UnidentifiedImageError

from idc_data.image_colour import eight_bits, pixels_of
from idc_data.image_structure import Refused, Structure, bands, check_structure

MAX_PIXELS = 50_000_000
"""The largest image that is decoded by default: 150 MB as RGB."""

HEIC_HINT = "`uv pip install pillow-heif` adds it"

_NEVER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow lists but does not decode itself: EPS, for example, is a program that Ghostscript would run."""

_PHONES = frozenset((".heic", ".heif", ".hif"))
"""Extensions of files that need pillow-heif, although many such files are JPEGs, which do not."""

_SYSTEM = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}
"""Files and folders that operating systems add; others begin with a dot."""

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
"""RGB; 16 bits if the file has them, of which it may use only the lower ones (see `eight_bits`)."""

Source = Path | bytes | np.ndarray | Image.Image
"""A file, the contents of a file, pixels, or a Pillow image."""

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageFiles(NamedTuple):
    """The files below a folder, sorted, relative to it.

    Attributes:
        images: Files with the extension of an image.
        others: All other files, except those that `is_hidden`.
    """

    images: list[Path]
    others: list[Path]


def image_files(folder: Path) -> ImageFiles:
    """List the images below a folder, by their extensions, and the other files."""
    found = ImageFiles([], [])
    for path in sorted(each.relative_to(folder) for each in folder.rglob("*") if each.is_file()):
        if not is_hidden(path):
            (found.images if path.suffix.lower() in endings() else found.others).append(path)
    return found


def passed_over(others: Sequence[Path]) -> str:
    """Return the message about files without the extension of an image."""
    named = ", ".join(str(path) for path in others[:3])
    return f"ignored, not an image by its extension: {named}{', ...' if len(others) > 3 else ''} ({len(others)} in all)"


def is_hidden(path: Path) -> bool:
    """Return whether a path is hidden or a system file: macOS adds `._x.png` to every `x.png`."""
    return any(part.startswith(".") and part != ".." or part in _SYSTEM for part in path.parts)


@cache
def endings() -> frozenset[str]:
    """Return the extensions of images that can be read, such as `.png`."""
    formats = _formats()
    return _PHONES | {ending for ending, kind in Image.registered_extensions().items() if kind in formats}


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    if find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(kind for kind in Image.ID if kind not in _NEVER)


def load_image(
    source: Source, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as upright RGB pixels of 8 bits; use `load_pair` for two images that are compared.

    See `read_pixels` for the conversion, arguments and errors, and `eight_bits` for images of 16 bits.
    """
    (pixels,) = eight_bits(read_pixels(source, max_pixels=max_pixels, formats=formats))
    return pixels


def load_pair(
    before: Source, after: Source, *, max_pixels: int = MAX_PIXELS
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h2 w2 3"]]:
    """Read two images that are compared; images of 16 bits are scaled equally, so that this adds no difference."""
    first, second = eight_bits(*(read_pixels(source, max_pixels=max_pixels) for source in (before, after)))
    return first, second


def read_pixels(source: Source, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None) -> Pixels:
    """Read an image as upright RGB pixels of 8 or 16 bits.

    The EXIF orientation and an embedded colour profile are applied, so the pixels are sRGB. Transparent pixels are
    blended with white; an animation yields its first frame. Structure and size are checked before decoding.

    Args:
        source: A file, the contents of a file, pixels (which are only checked), or a Pillow image.
        max_pixels: Limit on width x height.
        formats: Pillow's names of the formats to accept. By default all that Pillow decodes itself.

    Raises:
        ValueError: The source is not an image, is damaged, too large or too costly to decode, or its pixels are not
            colours; the message names the file.
        OSError: The file cannot be opened.
    """
    if isinstance(source, np.ndarray):
        if source.dtype not in (np.uint8, np.uint16) or source.ndim != 3 or source.shape[2] != 3:
            raise ValueError(
                f"an image array is {source.dtype} {source.shape}, expected uint8 or uint16 (height, width, 3)"
            )
        return source
    name = f"image {str(source)!r}" if isinstance(source, Path) else "the image"
    data = source.read_bytes() if isinstance(source, Path) else source
    try:
        structure = Structure(b"") if isinstance(data, Image.Image) else check_structure(data)
        with _open(data, structure.data, formats or _formats()) as image:
            if image.width * image.height <= max_pixels:
                return pixels_of(image, structure)
            size = f"{image.width} x {image.height} pixels"
    except Refused as error:
        raise ValueError(f"{name} {error}") from error
    except _BOMB as error:
        raise ValueError(f"{name} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} {_unknown(data if isinstance(data, bytes) else b'')}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything, even TypeError
        raise ValueError(f"{name} is damaged or not an image: {error}") from error
    raise ValueError(f"{name} has {size}, more than the limit of {max_pixels:,}; scale it down")


def pixels_in(data: bytes) -> int:
    """Return the number of pixels of an image file without decoding it; 0 if it cannot be read."""
    try:
        with Image.open(io.BytesIO(check_structure(data).data), formats=_formats()) as image:
            return image.width * image.height
    except Exception:  # `read_pixels` reports the error
        return 0


def _open(source: bytes | Image.Image, data: bytes, formats: tuple[str, ...]) -> Image.Image:
    if isinstance(source, Image.Image):
        return ImageOps.exif_transpose(source)  # a copy: the caller's image stays open and unchanged
    return Image.open(io.BytesIO(data), formats=formats)


def _unknown(data: bytes) -> str:
    """Return the message about a file that Pillow does not recognise."""
    if data[4:10] in (b"ftyphe", b"ftypmi", b"ftypms") and not find_spec("pillow_heif"):  # heic, heim, mif1, msf1, ...
        return f"is HEIC, which cannot be read here; {HEIC_HINT}"
    if many := bands(data):
        return f"is a TIFF with {many} bands, which cannot be read; save three of them as an RGB image of 8 bits"
    return "is damaged or not an image: it does not begin like any known format"
