"""Converts masks of changed pixels to boxes."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from idc_data.example import Box, Regions
from idc_data.images import load_image

_LEAST = 9
"""Minimum number of pixels of a box: smaller parts are edges of others, or JPEG noise."""


def changed_pixels(mask: Path) -> Bool[np.ndarray, "h w"]:
    """Return where a mask is not black; class numbers such as 1 and 2 also count as not black."""
    return load_image(mask).max(axis=2) > 0


def regions_of_mask(mask: Path) -> Regions:
    """Return the boxes of the connected parts of a mask, for both images."""
    boxes = tuple(box for box in boxes_of(changed_pixels(mask)))
    return Regions(before=boxes, after=boxes)


def boxes_of(changed: Bool[np.ndarray, "h w"]) -> list[Box]:
    """Return the boxes of the 4-connected parts, from top to bottom.

    Row by row, a run of changed pixels that touches a run of the row above belongs to the same part.
    """
    parts: list[list[int]] = []  # left, top, right, bottom, pixels; right and bottom are the first outside
    above: list[tuple[int, int, int]] = []  # begin, end, part
    same: list[int] = []  # part -> part that it was merged into
    for y, row in enumerate(changed):
        edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
        runs = list[tuple[int, int, int]]()
        for begin, end in edges.reshape(-1, 2).tolist():
            touching = {_root(same, part) for left, right, part in above if left < end and begin < right}
            own = min(touching, default=len(parts))
            if own == len(parts):
                parts.append([begin, y, end, y + 1, 0])
                same.append(own)
            for other in touching - {own}:
                same[other] = own
                _join(parts[own], parts[other])
            _join(parts[own], [begin, y, end, y + 1, end - begin])
            runs.append((begin, end, own))
        above = runs
    return [
        (float(left), float(top), float(right - left), float(bottom - top))
        for number, (left, top, right, bottom, pixels) in enumerate(parts)
        if same[number] == number and pixels >= _LEAST
    ]


def _root(same: list[int], part: int) -> int:
    while same[part] != part:
        part = same[part]
    return part


def _join(part: list[int], other: list[int]) -> None:
    part[:] = [
        min(part[0], other[0]),
        min(part[1], other[1]),
        max(part[2], other[2]),
        max(part[3], other[3]),
        part[4] + other[4],
    ]
