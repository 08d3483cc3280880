"""The gallery of a report: the choice of pairs, and the data shown for each."""

import base64
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from idc_eval.calibration import confidence
from idc_eval.images import data_url, image_file
from idc_eval.metrics import METRICS
from idc_eval.prediction import Prediction
from idc_eval.report_data import change_type, main_metric, number
from idc_eval.score import Scores

_PIXELS = 256  # longer side of an image on the page
_EXTREMES = 50  # maximum number of worst, and of best, pairs


def choose(predictions: Sequence[Prediction], scores: Scores, num: int, *, seed: int = 0) -> tuple[list[int], str]:
    """Choose pairs to show: all, or the worst, the best and a random sample; prefer pairs with images.

    Returns:
        Their rows, in order, and a sentence on how they were chosen.
    """
    total = len(predictions)
    if total <= num:
        return list(range(total)), ""
    shuffled = Random(seed).sample(range(total), total)
    pictured = [row for row in shuffled if predictions[row].before and predictions[row].after]
    # If too few pairs have images, pairs without follow.
    pool = pictured if len(pictured) >= num else [*pictured, *(row for row in shuffled if row not in set(pictured))]
    name, ends = main_metric(scores), min(_EXTREMES, num // 4)
    worst, best = [], []
    if name:
        values, sign = scores.per_example[name], -1 if METRICS[name].lower_is_better else 1
        ranked = sorted((row for row in pool if values[row] == values[row]), key=lambda row: sign * values[row])
        ends = min(ends, len(ranked) // 2)
        worst, best = ranked[:ends], ranked[len(ranked) - ends :]
    taken = {*worst, *best}
    rest = [row for row in pool if row not in taken][: num - len(taken)]
    where = "" if len(pool) == total else f" of the {len(pool):,} with images"
    ranks = (
        f"the {len(worst)} worst and {len(best)} best by {name}{where} (ties broken at random), and " if taken else ""
    )
    note = f"{num:,} of {total:,} pairs are shown: {ranks}{len(rest)} drawn at random. Scores and plots cover all."
    return sorted([*taken, *rest]), note


class Images:
    """The images of a page, each stored once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.urls: list[str] = []
        self._places: dict[str, int] = {}
        self._wrong: dict[str, str] = {}

    def place(self, name: str | None) -> int | None:
        """Return the index of an image in `urls`, None if it cannot be shown."""
        if name and name not in self._places and name not in self._wrong:
            try:
                url = data_url(image_file(self.folder, name), longest=_PIXELS)
            except FileNotFoundError:
                self._wrong[name] = f"there is no image {name!r} beside the predictions"
            except (ValueError, OSError) as error:
                self._wrong[name] = str(error)
            else:
                self._places[name] = len(self.urls)
                self.urls.append(url)
        return self._places.get(name or "")

    def problem(self, prediction: Prediction) -> str:
        """Return why an image of a pair is not shown; empty if both are."""
        for side, name in (("before", prediction.before), ("after", prediction.after)):
            if name is None:
                return f"the prediction names no image {side!r}"
            if name in self._wrong:
                return self._wrong[name]
        return ""

    def problems(self) -> list[str]:
        """Return at most one line about images that could not be read."""
        if not self._wrong:
            return []
        first = next(iter(self._wrong.values()))
        return [first if len(self._wrong) == 1 else f"{len(self._wrong):,} images are not shown, the first: {first}"]


def shown_pair(p: Prediction, row: int, scores: Scores, outcome: str, images: Images, top: float) -> dict[str, Any]:
    """Return the page's data of a pair; `top` is the maximum of all change maps."""
    each = {name: values[row] for name, values in scores.per_example.items()}
    before, after = images.place(p.before), images.place(p.after)
    return {
        "id": p.id,
        "hypothesis": p.hypothesis,
        "references": p.references,
        "swapped": p.swapped,
        "changed": p.changed,
        "type": change_type(p),
        "outcome": outcome,
        "before": before,
        "after": after,
        "problem": images.problem(p),
        "map": _packed(p.change_map, top),
        "regions": p.regions.model_dump() if p.regions else None,
        "scores": {name: number(value) for name, value in each.items() if value == value},
        "confidence": number(confidence(p)),
        "familiar": number(p.familiar),
        "difficulty": {name: number(value) for name, value in p.difficulty.items()},
    }


def _packed(change_map: list[list[float]] | None, top: float) -> dict[str, Any] | None:
    """Encode a change map as bytes; 255 is the highest value on the page."""
    if change_map is None:
        return None
    levels = np.round(255 * np.array(change_map) / (top or 1.0)).astype(np.uint8)
    return {"wide": levels.shape[1], "high": levels.shape[0], "levels": base64.b64encode(levels.tobytes()).decode()}
