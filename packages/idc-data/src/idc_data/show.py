"""A contact sheet of pairs, to inspect a dataset."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from idc_data.example import Box, ChangeExample
from idc_data.fonts import Font, find_font
from idc_data.images import load_pair
from idc_data.words import wrap

_TILE = 256  # longer side of an image on the sheet, in pixels: a multiple of 64 and 128
_GAP = 6  # between the images of a pair
_MARGIN = 28  # between pairs, and around the sheet
_INDENT = 14  # indent of the second and third line of a reference
_PAPER, _INK, _FAINT, _MARK = "#ffffff", "#1c1e21", "#6b7075", "#ff3d00"


def contact_sheet(
    examples: Sequence[ChangeExample], *, columns: int | None = None, num_references: int = 2
) -> Image.Image:
    """Draw pairs side by side, before | after, each with its boxes, change type and first references.

    Small images are enlarged without smoothing, so that their pixels are visible.

    Args:
        examples: The pairs, in reading order.
        columns: Number of pairs per row; by default up to three.
        num_references: Number of references to print under a pair.

    Raises:
        ValueError: There are no pairs, or an image is damaged.
    """
    if not examples:
        raise ValueError("there are no pairs to show")
    columns = columns or (3 if len(examples) > 4 else min(2, len(examples)))
    cells = [_cell(example, num_references) for example in examples]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = max(cell.width for cell in cells)
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new(
        "RGB",
        (columns * (width + _MARGIN) + _MARGIN, sum(height + _MARGIN for height in heights) + _MARGIN),
        _PAPER,
    )
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_MARGIN + column * (width + _MARGIN), top))
        top += height + _MARGIN
    return sheet


def _cell(example: ChangeExample, num_references: int) -> Image.Image:
    regions = example.regions
    first, second = load_pair(example.before, example.after)
    before = _tile(first, regions.before if regions else ())
    after = _tile(second, regions.after if regions else ())
    width = 2 * _TILE + _GAP
    titles = [(*find_font(example.change_type, 15), _INK), (*find_font(example.id, 15), _FAINT)]
    said = [line for reference in example.references[:num_references] for line in _lines(reference, width - _INDENT)]
    top = max(before.height, after.height) + 10
    cell = Image.new("RGB", (width, top + 24 + 19 * len(said)), _PAPER)
    cell.paste(before, (_TILE - before.width, 0))  # both next to the centre, to ease comparison
    cell.paste(after, (_TILE + _GAP, 0))
    draw = ImageDraw.Draw(cell)
    left = 0.0
    for font, words, color in titles:
        words = _fit(words, font, width - left)
        draw.text((left, top), words, color, font)
        left += draw.textlength(words, font) + 10
    for number, (font, indent, line) in enumerate(said):
        draw.text((indent, top + 24 + 19 * number), line, _INK, font)
    return cell


def _tile(pixels: np.ndarray, boxes: Sequence[Box]) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = _TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for x, y, width, height in boxes:
        frame = [x * scale - 2, y * scale - 2, (x + width) * scale + 1, (y + height) * scale + 1]
        draw.rectangle(frame, outline=_MARK, width=2)
    return image


def _lines(reference: str, width: int) -> list[tuple[Font, int, str]]:
    """Return font, indent and text of each line of a reference; text beyond the third line is cut off."""
    font, words = find_font(reference, 14)
    lines = wrap(words, width, font.getlength)
    if len(lines) > 3:
        lines = [*lines[:2], _fit(f"{lines[2]}…", font, width)]
    return [(font, _INDENT if number else 0, line) for number, line in enumerate(lines)]


def _fit(words: str, font: Font, width: float | int) -> str:
    if font.getlength(words) <= width:
        return words
    words = words[: int(width) // 2]  # no letter is narrower than 2 pixels
    while words and font.getlength(words + "…") > width:
        words = words[:-1]
    return words + "…"
