"""Images of pairs for web pages: checked, made small, and embedded in the page."""

import base64
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
"""Limit for an image to be decoded: 150 MB as RGB."""


def image_file(folder: Path, name: str) -> Path:
    """Return the file a prediction names, in the Unicode form used on disk (macOS decomposes letters)."""
    forms = (folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((file for file in (folder / name, *forms) if file.is_file()), folder / name)


def open_image(file: Path) -> Image.Image:
    """Read an image as RGB, rotated upright; transparency lies on white, 16 bits are scaled by those in use.

    Raises:
        ValueError: The file is not an image, is damaged, or is too large; names the file.
        OSError: The file cannot be opened.
    """
    data = file.read_bytes()
    try:
        with Image.open(BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than the limit of {MAX_PIXELS:,}")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # greys of up to 16 bits, which Pillow would cut off at 255
                values = np.asarray(image, np.uint32)
                full = next(2**bits - 1 for bits in (8, 10, 12, 14, 16, 32) if values.max(initial=0) < 2**bits)
                image = Image.fromarray(np.rint(values * (255 / full)).astype(np.uint8))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return image.convert("RGB")
    except Exception as error:
        raise ValueError(f"image {str(file)!r} is damaged, too large or no image: {error}") from error


def data_url(file: Path, *, longest: int = 384) -> str:
    """Encode an image as a WebP data URL, scaled down if a side is longer than `longest` pixels.

    Raises:
        ValueError: The file is not an image, is damaged, or is too large; names the file.
        OSError: The file cannot be opened.
    """
    small = open_image(file)
    small.thumbnail((longest, longest))
    out = BytesIO()
    small.save(out, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
