"""Measure whether a change map is high inside the data set's boxes of the change."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from idc_eval.prediction import Prediction


def pointing_game(prediction: Prediction) -> float:
    """Return 1 if the change map's maximum is in a box of the change, else 0; NaN without a map or a box.

    A hit may be off by half a cell. Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop",
    ECCV 2016, who allow 15 pixels instead. One map stands for both images, so the boxes of either side count.
    """
    boxes = _boxes(prediction)
    if not boxes or prediction.change_map is None:
        return math.nan
    values = np.array(prediction.change_map)
    row, column = np.unravel_index(values.argmax(), values.shape)
    high, wide = 1 / values.shape[0], 1 / values.shape[1]
    x, y = (column + 0.5) * wide, (row + 0.5) * high
    return float(
        any(
            left - wide / 2 <= x <= left + width + wide / 2 and top - high / 2 <= y <= top + height + high / 2
            for left, top, width, height in boxes
        )
    )


def coverage(prediction: Prediction) -> float:
    """Return the share of the change map inside the boxes of the change, 0..1; NaN without a map or a box.

    Cells partly inside a box count in part. A uniform map gets the boxes' share of the image.
    """
    boxes = _boxes(prediction)
    if not boxes or prediction.change_map is None:
        return math.nan
    values = np.array(prediction.change_map)
    total = values.sum()
    return float((values * _inside(boxes, *values.shape)).sum() / total) if total else 0.0


def _boxes(prediction: Prediction) -> list[list[float]]:
    regions = prediction.regions
    return [box for box in (*regions.before, *regions.after) if box[2] and box[3]] if regions else []


def _inside(boxes: Sequence[Sequence[float]], rows: int, columns: int, fine: int = 8) -> NDArray[np.float64]:
    """Return the fraction of each grid cell that the boxes cover together, `rows columns`."""
    y, x = (np.arange(rows * fine) + 0.5) / (rows * fine), (np.arange(columns * fine) + 0.5) / (columns * fine)
    covered = np.zeros((rows * fine, columns * fine), bool)
    for left, top, width, height in boxes:
        covered |= np.outer((y >= top) & (y <= top + height), (x >= left) & (x <= left + width))
    return covered.reshape(rows, fine, columns, fine).mean((1, 3))
