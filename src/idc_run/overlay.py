"""A picture of one answer: before and after with the change map, and the caption under them."""

import textwrap
from pathlib import Path

import numpy as np
from idc_models.inference import Caption
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SIDE = 480  # pixels of a panel's longer side, at least where the image has them
_COLOUR = (255, 20, 140)
_GAP = 8


def draw_overlay(path: Path, before: NDArray[np.uint8], after: NDArray[np.uint8], said: Caption) -> None:
    """Draw before beside after, where the model looks in one colour, and what it says.

    Args:
        path: An image file; its suffix says the format.
        before: RGB.
        after: RGB, of any size: it is brought to before's height and width, as the change map has them.
        said: With a change map, if the model has one.

    Raises:
        ValueError: Images cannot be written in the format of that suffix.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"no image format has the suffix {path.suffix!r}; expected such as {path.with_suffix('.png')}")
    scale = _SIDE / max(before.shape[:2])
    size = (max(1, round(before.shape[1] * scale)), max(1, round(before.shape[0] * scale)))
    sampling = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    panels = [Image.fromarray(side).resize(size, sampling) for side in (before, after)]
    if said.change_map is not None:
        weight = (
            Image.fromarray(said.change_map).resize(size, Image.Resampling.BILINEAR).point(lambda level: level * 0.7)
        )
        panels = [Image.composite(Image.new("RGB", size, _COLOUR), panel, weight) for panel in panels]
    font, small = ImageFont.load_default(22), ImageFont.load_default(14)
    width = 2 * size[0] + 3 * _GAP
    lines = [piece for piece in textwrap.wrap(said.caption or "(no words)", max(20, width // 12))]
    sheet = Image.new("RGB", (width, size[1] + 2 * _GAP + 40 + 30 * len(lines)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (panel, name) in enumerate(zip(panels, ("before", "after"), strict=True)):
        left = _GAP + column * (size[0] + _GAP)
        sheet.paste(panel, (left, _GAP))
        pen.text((left, size[1] + _GAP + 2), name, "#62676d", small)
    changed = "" if said.changed is None else f"something changed: {said.changed:.1%}"
    pen.text((width - _GAP, size[1] + _GAP + 2), changed, "#62676d", small, anchor="ra")
    for row, line in enumerate(lines):
        pen.text((_GAP, size[1] + _GAP + 28 + 30 * row), line, "#1c1e21", font)
    unfinished = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        sheet.save(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
