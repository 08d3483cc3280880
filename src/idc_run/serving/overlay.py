"""A picture of one result: before and after with the change map, and the caption below."""

import hashlib
import io
from pathlib import Path

import numpy as np
from idc_data.fonts import find_font
from idc_data.whole import whole
from idc_data.words import wrap
from idc_models.serving.inference import Caption
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SIDE = 480  # pixels of a panel's longer side
_COLOUR = (255, 20, 140)
_ALARM = "#8f6200"
_GAP = 8
_NARROWEST = 320  # pixels; makes room for the text below narrow images
_LONGEST = 240  # bytes of a name; file systems allow 255, and suffixes are added


def check_format(path: Path) -> None:
    """Check that images can be written in the format of a file's suffix.

    Raises:
        ValueError: They cannot.
    """
    try:
        Image.new("RGB", (16, 16)).save(io.BytesIO(), Image.registered_extensions().get(path.suffix.lower()))
    except (KeyError, ValueError, OSError) as error:
        expected = f"expected for example {path.with_suffix('.png')}"
        raise ValueError(f"images cannot be written with the suffix {path.suffix!r}; {expected}") from error


def picture_name(image: Path) -> Path:
    """Return the name of an image's picture: its own name with .png, shortened if it is too long for file systems."""
    name = image.name.encode("utf-8", "surrogateescape")
    if len(name) > _LONGEST:
        cut = name[: _LONGEST - 13].decode("utf-8", "ignore")
        return image.with_name(f"{cut}-{hashlib.sha256(name).hexdigest()[:12]}.png")
    return image.with_name(f"{image.name}.png")


def draw_overlay(path: Path, before: NDArray[np.uint8], after: NDArray[np.uint8], said: Caption) -> None:
    """Draw before next to after, the change map in one colour, and the caption.

    Args:
        path: The image file to write; its suffix selects the format (see `check_format`).
        before: RGB image.
        after: RGB image of any size; it is resized to that of before.
        said: The caption, with the change map if the model has one.

    Raises:
        OSError: The file cannot be written.
    """
    scale = _SIDE / max(before.shape[:2])
    size = (max(1, round(before.shape[1] * scale)), max(1, round(before.shape[0] * scale)))
    sampling = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    panels = [Image.fromarray(side).resize(size, sampling) for side in (before, after)]
    if said.change_map is not None:
        weight = (
            Image.fromarray(said.change_map).resize(size, Image.Resampling.BILINEAR).point(lambda level: level * 0.7)
        )
        colour = Image.new("RGB", size, _COLOUR)
        panels = [Image.composite(colour, panel, weight) for panel in panels]
    width = max(2 * size[0] + 3 * _GAP, _NARROWEST)
    font, caption = find_font(said.caption or "(no words)", 22)
    small, note = find_font(f"Note: {said.note}" if said.note else "", 14)
    lines = wrap(caption, width - 2 * _GAP, font.getlength)
    notes = wrap(note, width - 2 * _GAP, small.getlength) if note else []
    height = size[1] + 2 * _GAP + 40 + 30 * len(lines)
    sheet = Image.new("RGB", (width, height + 20 * len(notes)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (panel, name) in enumerate(zip(panels, ("before", "after"), strict=True)):
        left = _GAP + column * (size[0] + _GAP)
        sheet.paste(panel, (left, _GAP))
        pen.text((left, size[1] + _GAP + 2), name, "#62676d", small)
    changed = "" if said.changed is None else f"something changed: {said.changed:.1%}"
    pen.text((width - _GAP, size[1] + _GAP + 2), changed, "#62676d", small, anchor="ra")
    for row, line in enumerate(lines):
        pen.text((_GAP, size[1] + _GAP + 28 + 30 * row), line, "#1c1e21", font)
    for row, line in enumerate(notes):
        pen.text((_GAP, height - _GAP + 20 * row), line, _ALARM, small)
    with whole(path) as unfinished:
        sheet.save(unfinished)
