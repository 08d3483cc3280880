"""Image files as a model takes them; the same pixels as idc_data's, which is not there where a model is served."""

import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

MAX_PIXELS = 50_000_000
"""The largest image that is decoded unless asked otherwise: 150 MB as RGB."""

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def load_image(
    source: Path | bytes | np.ndarray, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image as RGB pixels, upright.

    The EXIF orientation is applied, transparency lies on white, 16-bit grey is scaled to 8 bits, and of an animation
    the first frame is taken. The size is checked before anything is decoded.

    Args:
        source: a file, the contents of a file, or pixels that are only checked.
        max_pixels: limit on width x height.
        formats: names that Pillow knows formats by; others are refused. By default all of them.

    Raises:
        ValueError: it is no image, is damaged, or is too large; the file is named.
        OSError: the file cannot be opened.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ValueError(f"an image array is {source.dtype} {source.shape}, expected uint8 (height, width, 3)")
        return source
    name = "the image" if isinstance(source, bytes) else f"image {str(source)!r}"
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
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


def squeeze(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[Tensor, "3 size size"]:
    """Brings an image to the size that a model sees, as its evaluation does: nothing is cut off."""
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    if pixels.shape[1:] != (size, size):
        pixels = F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]
    return pixels


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its pixels are 32-bit numbers (mode {image.mode}), expected 8 or 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies
