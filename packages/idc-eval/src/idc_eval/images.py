"""Images of pairs for web pages: checked, made small, and embedded in the page."""

import base64
import unicodedata
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
"""Limit for an image to be decoded: 150 MB as RGB."""


def image_file(folder: Path, name: str) -> Path:
    """Return the file a prediction names, in the Unicode form used on disk (macOS decomposes letters)."""
    forms = (folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((file for file in (folder / name, *forms) if file.is_file()), folder / name)


def open_image(file: Path) -> Image.Image:
    """Read an image as RGB, rotated upright.

    Raises:
        ValueError: The file is not an image, is damaged, or is too large; names the file.
        OSError: The file cannot be opened.
    """
    data = file.read_bytes()
    try:
        with Image.open(BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than the limit of {MAX_PIXELS:,}")
            return ImageOps.exif_transpose(image).convert("RGB")
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
