"""Decodes an opened image to RGB: colour profile, bit depth, transparency and orientation."""

import io
import re
from functools import lru_cache
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageCms, ImageFile

from idc_data.image_structure import MAX_PROFILE, Refused, Structure, orientation

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SPACES = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_DARK = 64
"""If all high bytes are below it, the values may have 14 bits or fewer."""


def eight_bits(*images: np.ndarray) -> tuple[UInt8[np.ndarray, "_ _ 3"], ...]:
    """Convert images that are compared to 8 bits, all by the same factor.

    Many cameras and sensors store 10, 12 or 14 bits in the lower part of 16, which look black if read as 16 bits. The
    largest value of *all* given images therefore determines the number of bits: 8, 10, 12, 14 or 16. If each image were
    scaled separately, one could become brighter than the other, and everything would seem to have changed.
    """
    deep = [image for image in images if image.dtype == np.uint16]
    if not deep:
        return images
    largest = max(int(image.max(initial=0)) for image in deep)
    full = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if largest < 2**bits)
    return tuple(
        np.rint(image / np.float32(full / 255)).astype(np.uint8) if image.dtype == np.uint16 else image
        for image in images
    )


def pixels_of(image: Image.Image, structure: Structure) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]:
    """Decode an image that has been opened.

    Args:
        image: An image opened by Pillow.
        structure: The file.

    Raises:
        Refused: Its pixels cannot be interpreted as colours.
    """
    raw = _raw_mode(image)
    turn = _TURNS.get(orientation(structure.exif or image.info.get("exif") or b""))
    if image.format == "TIFF":  # Pillow rotates these when decoding
        turn = None
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = _grey(image)
        return np.repeat((values if turn is None else _turned(values, turn))[..., None], 3, axis=2)
    profile = structure.profile or image.info.get("icc_profile")
    if ";16" in raw and (deep := _deep_colours(image, structure.data, raw)) is not None:
        return deep if turn is None else np.stack([_turned(deep[..., band], turn) for band in range(3)], axis=2)
    if profile:
        image = _as_srgb(image, profile)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image if image.mode == "RGB" else image.convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))


def _turned(values: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    return np.asarray(Image.fromarray(values).transpose(turn))


def _grey(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    low, high = (float(values.min(initial=0)), float(values.max(initial=0)))
    if image.mode == "F" and low >= 0 and high <= 1:  # false if any value is NaN
        return np.rint(values * 255).astype(np.uint8)
    if image.mode == "F" or low < 0 or high > 65535:
        kind, expected = ("float", "0 to 1") if image.mode == "F" else ("integer", "0 to 65,535")
        raise Refused(
            f"has {kind} pixels from {low:g} to {high:g}, expected {expected}; scale both images of a pair equally"
        )
    return values.astype(np.uint16)


def _raw_mode(image: Image.Image) -> str:
    """Return the raw pixel format, such as RGB;16B; Pillow reads only the high bytes of 16-bit colours."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _deep_colours(image: Image.Image, data: bytes, raw: str) -> UInt16[np.ndarray, "h w 3"] | None:
    """Return 16-bit colours, exact if the image is dark; None for images with transparency or CMYK that are not."""
    high = np.asarray(image.convert("RGB"), np.uint16)
    dark = high.size and high.max() < _DARK
    if re.fullmatch(r"RGBX?;16[BLN]", raw) is None:
        if dark and image.mode == "RGB":
            raise Refused("has 16-bit pixels that use only a part of their range; save it as an image of 8 bits")
        return None
    if not dark:
        return high * 257
    with Image.open(io.BytesIO(data), formats=(image.format or "",)) as again:
        swapped = raw[:-1] + ("L" if raw[-1] == "B" else "B")
        assert isinstance(again, ImageFile.ImageFile)
        again.tile = [
            part._replace(args=(swapped, *part.args[1:]) if isinstance(part.args, tuple) else swapped)
            for part in again.tile
        ]
        return high * 256 + np.asarray(again.convert("RGB"), np.uint16)


def _as_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply a colour profile; a damaged or unsuitable one is ignored."""
    if len(profile) > MAX_PROFILE or b"mpet" in profile:  # may have a huge number of elements
        return image
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    alpha = image.getchannel("A") if image.mode == "LA" else None
    image = image.getchannel("L") if image.mode == "LA" else image
    transform = _transform(profile, image.mode)
    if transform is not None:
        image = ImageCms.applyTransform(image, transform) or image
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    return image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transformation to sRGB; None if the pixels are sRGB, or the profile cannot be used."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        about = cast(Any, opened.profile)  # Pillow has no types for it
        if about.xcolor_space.strip() != _SPACES.get(mode) or "sRGB" in (about.profile_description or ""):
            return None
        return ImageCms.buildTransform(
            opened, ImageCms.createProfile("sRGB"), mode, "RGBA" if mode == "RGBA" else "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
