"""Data of a report over all pairs: metric table, bar charts, curves, and variety of captions."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idc_eval.calibration import confidence
from idc_eval.captions import tokenized
from idc_eval.changed import ChangeReader
from idc_eval.compare import interval
from idc_eval.diagnostics import distinct
from idc_eval.groups import Group, binned
from idc_eval.metrics import DIAGNOSTICS, METRICS, labelled
from idc_eval.prediction import Prediction
from idc_eval.protocols import find_protocol
from idc_eval.score import Scores
from idc_eval.scripts import count_words

EXPLAINED = {
    "bleu-1": "Words of the caption that a reference has too, with a penalty for short captions.",
    "bleu-2": "As bleu-1, for runs of up to two words.",
    "bleu-3": "As bleu-1, for runs of up to three words.",
    "bleu-4": "As bleu-1, for runs of up to four words.",
    "meteor": "Words aligned with a reference; stems, synonyms and paraphrases count.",
    "rouge-l": "Longest sequence of words shared with a reference.",
    "cider": "Runs of words shared with the references, rare ones weigh more; 1000 at most.",
    "spice": "Objects, attributes and relations shared with the references.",
    "bertscore": "Similarity in meaning to the best reference, by a language model.",
    "clipscore": "How well the caption fits the after image, by CLIP.",
    "statement_accuracy": "Right kind of change, exactly the right object, right new value, in any wording.",
    "change_type_accuracy": "Right kind of change.",
    "attribute_accuracy": "Changed pairs: right kind, and only attributes of the changed object.",
    "false_alarm_rate": "Unchanged pairs whose caption claims a change.",
    "miss_rate": "Changed pairs whose caption claims none.",
    "hallucination_rate": "Captions that name an object neither image shows.",
    "unsupported_attribute_rate": "Captions with a colour, size, material or shape that no reference has.",
    "pointing_game": "Change maps with their maximum inside a box of the change.",
    "coverage": "Part of the change map that lies in the boxes of the change.",
    "swap_consistency": "Pairs with consistent captions for both image orders.",
    "swapped_accuracy": "Statement accuracy with the images in reverse order.",
    "distinct-1": "Different words as a share of all words of the captions.",
    "distinct-2": "Different word pairs as a share of all word pairs of the captions.",
    "commonest_share": "Share of the commonest caption.",
    "calibration_error": "Mean gap between confidence and share of right captions.",
    "confidence_auroc": "Chance that a right caption has higher confidence than a wrong one; 50 is random.",
    "confidence_correlation": "Rank correlation of confidence with CIDEr; 0 is none.",
}
"""A one-line explanation of every metric."""

_OVER_CORPUS = ("bleu-", "meteor")  # these sum counts before dividing, so their value is not a mean over pairs
_DRAWS = 2_000
_MOST_TYPES = 16
_MOST_POINTS = 300


def main_metric(scores: Scores) -> str | None:
    """Return the metric to rank pairs by: statement accuracy if known, else CIDEr, else the first metric."""
    return next(
        (name for name in ("statement_accuracy", "cider", *scores.per_example) if name in scores.per_example), None
    )


def number(value: float | None) -> float | None:
    """Return a number for JSON: None for NaN and infinities."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


def metric_rows(scores: Scores, ceiling: Scores | None) -> list[dict[str, Any]]:
    """Make the metric table: value, 95 % interval, ceiling and number of pairs of each metric."""
    rows = []
    for name, value in scores.values.items():
        each = np.array(scores.per_example.get(name, []), float)
        judged = each[~np.isnan(each)]
        low = high = None
        if len(judged) > 1 and not name.startswith(_OVER_CORPUS):
            low, high = wilson(judged) if _is_share(judged) else interval(judged.tolist(), draws=_DRAWS)
        best = ceiling.values.get(name) if ceiling else None
        rows.append(
            {
                "name": name,
                "value": value,
                "low": low,
                "high": high,
                "ceiling": best,
                "count": scores.counts[name],
                "about": EXPLAINED.get(name, ""),
                "lower": METRICS[name].lower_is_better,
                "unit": METRICS[name].unit,
                "diagnostic": name in DIAGNOSTICS,
                "mean": number(float(judged.mean())) if len(judged) else None,
            }
        )
    return rows


def outcomes(predictions: Sequence[Prediction], scores: Scores) -> list[str]:
    """Return the outcome of each pair: `right`, `wrong`, `false alarm`, `miss`, or `not judged`."""
    judged = scores.per_example.get("statement_accuracy", [math.nan] * len(predictions))
    reader = ChangeReader(predictions, scores.details.get("no_change", ()))
    return [_outcome(p, right, reader) for p, right in zip(predictions, judged, strict=True)]


def bar_charts(predictions: Sequence[Prediction], scores: Scores) -> list[dict[str, Any]]:
    """Make bar charts of every metric by change type, reference length, confidence and each kind of difficulty.

    Bars are means over their pairs, even for metrics that sum counts over the corpus in the table.
    """
    lengths = [fmean(map(count_words, p.references)) for p in predictions]
    names = sorted({name for p in predictions for name in p.difficulty})
    charts = [
        ("Change type", "", _by_type(predictions)),
        ("Reference length", "words, mean of a pair's references", binned(lengths)),
        ("Confidence", "mean probability of a word in the caption", binned([confidence(p) for p in predictions])),
        *(
            (
                f"Difficulty: {name}",
                "as given by the data set",
                binned([p.difficulty.get(name, math.nan) for p in predictions]),
            )
            for name in names
        ),
    ]
    return [
        {"title": title, "about": about, "labels": [label for label, _ in groups], "metrics": _means(groups, scores)}
        for title, about, groups in charts
        if len(groups) > 1
    ]


def curve_panels(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[dict[str, Any]]:
    """Make panels of learning curves, one per quantity (`train/loss` and `val/loss` share one). Metrics are x 100."""
    panels: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, points in curves.items():
        finite = [(step, value) for step, value in sorted(points) if math.isfinite(value)]
        stride = math.ceil(len(finite) / _MOST_POINTS) or 1
        # Thin out from the end, so that the last point is kept.
        thin = finite[::-1][::stride][::-1]
        quantity = name.rpartition("/")[2]
        scale = 100 if quantity in METRICS else 1
        if thin:
            panels[quantity].append({"name": name, "points": [[s, number(scale * v)] for s, v in thin]})
    return [{"title": labelled(title), "lines": lines} for title, lines in panels.items()]


def wording(predictions: Sequence[Prediction], scores: Scores) -> dict[str, Any]:
    """Compare the variety of captions and of first references; list the commonest captions."""
    rules = find_protocol(scores.protocol)
    words = rules.captions(predictions) if rules.words == "characters" else tokenized(predictions)
    columns = [words.hypotheses, [each[0] for each in words.references]]
    table = [
        ("different captions", "count", [len(set(column)) for column in columns]),
        ("different words", "count", [len({word for text in column for word in text.split()}) for column in columns]),
        ("distinct-1", "share", [number(distinct(column, 1).value) for column in columns]),
        ("distinct-2", "share", [number(distinct(column, 2).value) for column in columns]),
        ("words per caption", "mean", [number(fmean(len(text.split()) for text in column)) for column in columns]),
    ]
    main = main_metric(scores)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(words.hypotheses):
        rows[text].append(row)
    frequent = [
        {
            "text": predictions[at[0]].hypothesis,
            "count": len(at),
            "mean": _spread(scores.per_example[main], at) if main else None,
        }
        for at in sorted(rows.values(), key=len, reverse=True)[:8]
    ]
    return {"table": table, "frequent": frequent}


def _outcome(prediction: Prediction, right: float, reader: ChangeReader) -> str:
    changed, kind = prediction.changed, change_type(prediction)
    if changed is None and kind:
        changed = kind != "none"
    if right == 1:
        return "right"
    read = changed is not None and not reader.doubt
    if read and reader.claims_change(prediction.hypothesis) != changed:
        return "miss" if changed else "false alarm"
    if right == 0:
        return "wrong"
    return "right" if read and not changed else "not judged"


def change_type(prediction: Prediction) -> str | None:
    """Return the kind of change, from the label or else from the scene's truth."""
    return prediction.change_type or (prediction.truth or {}).get("change_type")


def _by_type(predictions: Sequence[Prediction]) -> list[Group]:
    types = [change_type(p) for p in predictions]
    counts = Counter(each for each in types if each)
    shown = sorted((each for each, _ in counts.most_common(_MOST_TYPES)), key=lambda each: (each == "none", each))
    groups = [(kind, [row for row, each in enumerate(types) if each == kind]) for kind in shown]
    if rest := [row for row, each in enumerate(types) if each and each not in shown]:
        groups.append((f"{len(counts) - len(shown)} other types", rest))
    return groups


def _means(groups: Sequence[Group], scores: Scores) -> dict[str, list[Any]]:
    return {name: [_spread(values, rows) for _, rows in groups] for name, values in scores.per_example.items()}


def _spread(values: Sequence[float], rows: Sequence[int]) -> list[float | None] | None:
    """Return mean, 95 % interval and number of the judged pairs among some rows; None if none is judged.

    Uses the normal interval, since a bootstrap of every bar of every metric takes minutes; Wilson's for shares.
    """
    judged = np.array([values[row] for row in rows], float)
    judged = judged[~np.isnan(judged)]
    if not len(judged):
        return None
    mean, low, high = float(judged.mean()), None, None
    if _is_share(judged):
        low, high = wilson(judged)
    elif len(judged) > 1:
        half = NormalDist().inv_cdf(0.975) * float(judged.std(ddof=1)) / math.sqrt(len(judged))
        low, high = max(mean - half, 0.0), mean + half
    return [number(mean), number(low), number(high), len(judged)]


def _is_share(judged: NDArray[np.float64]) -> bool:
    return bool(np.isin(judged, (0.0, 1.0)).all())


def wilson(judged: NDArray[np.float64]) -> tuple[float, float]:
    """Return Wilson's interval of a share; a bootstrap's has no width at 0 % and 100 %."""
    from scipy.stats import binomtest

    bounds = binomtest(int(judged.sum()), len(judged)).proportion_ci(0.95, "wilson")
    return float(bounds.low), float(bounds.high)
