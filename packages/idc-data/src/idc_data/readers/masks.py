"""Masks of changed pixels as boxes."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from idc_data.example import Box, Regions
from idc_data.images import load_image

_LEAST = 9
"""Pixels of a change that gets a box of its own: less is the edge of another, or noise of a JPEG."""


def changed_pixels(mask: Path) -> Bool[np.ndarray, "h w"]:
    """Where a mask is not black; numbers of classes, such as 1 and 2, are not black either."""
    return load_image(mask).max(axis=2) > 0


def regions_of_mask(mask: Path) -> Regions:
    """Box every connected part of a mask; the boxes hold for both images."""
    boxes = tuple(box for box in boxes_of(changed_pixels(mask)))
    return Regions(before=boxes, after=boxes)


def boxes_of(changed: Bool[np.ndarray, "h w"]) -> list[Box]:
    """Box the connected parts, edges counting as touching, from top to bottom.

    Row by row: runs of changed pixels that touch a run of the row above belong to its part.
    """
    parts: list[list[int]] = []  # left, top, right, bottom, pixels; right and bottom are the first outside
    above: list[tuple[int, int, int]] = []  # begin, end, part
    same: list[int] = []  # part -> part that it was joined with
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
