"""Images of pairs for web pages: small, checked, and part of the page."""

import base64
import unicodedata
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
"""The largest image that is decoded: 150 MB as RGB."""


def image_file(folder: Path, name: str) -> Path:
    """The file that a prediction names, in whichever Unicode form the disk has its name (macOS splits letters)."""
    forms = (folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((file for file in (folder / name, *forms) if file.is_file()), folder / name)


def open_image(file: Path) -> Image.Image:
    """Read an image as RGB, upright.

    Raises:
        ValueError: It is no image, is damaged, or is too large; the file is named.
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
    """An image as a WebP data URL, made smaller where a side is longer than `longest` pixels.

    Raises:
        ValueError: It is no image, is damaged, or is too large; the file is named.
        OSError: The file cannot be opened.
    """
    small = open_image(file)
    small.thumbnail((longest, longest))
    out = BytesIO()
    small.save(out, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
