"""The metrics: a table from each name to what computes it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from idc_eval import captions, learned, spice
from idc_eval import diagnostics as diagnose
from idc_eval.evaluation import Evaluation
from idc_eval.measured import Measured, average, share
from idc_eval.prediction import Prediction
from idc_eval.scene_truth import judge, read_truth
from idc_eval.wording import did_you_mean


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, and which input is missing if it can judge no example."""

    compute: Callable[[Evaluation], Measured]
    without: str = "there is no example"
    min_examples: int = 1
    judges: bool = False
    """Whether each example is judged on its own, so that the metric can be broken down by change type."""
    lower_is_better: bool = False
    doubt: Callable[[Evaluation], str] = lambda evaluation: ""
    """Return why the value would be wrong for these captions, such as another language; the metric is then skipped."""
    unit: str = ""
    """The unit of the value x 100: `%` for shares of examples or words, empty for scores."""


def _bleu(order: int, evaluation: Evaluation) -> Measured:
    return evaluation.bleu[order - 1]


def _meteor(evaluation: Evaluation) -> Measured:
    words = evaluation.captions
    return Measured(*evaluation.meteor.score(words.hypotheses, words.references))


def _spice(evaluation: Evaluation) -> Measured:
    return spice.spice(evaluation.captions.hypotheses, evaluation.captions.references)


def _verdict_share(part: str, evaluation: Evaluation) -> Measured:
    return share([None if verdict is None else getattr(verdict, part) for verdict in evaluation.verdicts])


def _false_alarms(evaluation: Evaluation) -> Measured:
    pairs = zip(evaluation.predictions, evaluation.claims, strict=True)
    return share([claims if p.changed is False else None for p, claims in pairs])


def _misses(evaluation: Evaluation) -> Measured:
    pairs = zip(evaluation.predictions, evaluation.claims, strict=True)
    return share([not claims if p.changed else None for p, claims in pairs])


def _each(judge_one: Callable[[Prediction], float], evaluation: Evaluation) -> Measured:
    return average([judge_one(p) for p in evaluation.predictions])


def _pointing_game(evaluation: Evaluation) -> Measured:
    from idc_eval.localisation import pointing_game

    return _each(pointing_game, evaluation)


def _coverage(evaluation: Evaluation) -> Measured:
    from idc_eval.localisation import coverage

    return _each(coverage, evaluation)


def _swap_consistency(evaluation: Evaluation) -> Measured:
    return _each(partial(diagnose.swap_consistency, claims=evaluation.reader.claims_change), evaluation)


def _swapped(evaluation: Evaluation) -> Measured:
    return share([None if p.truth is None or p.swapped is None else _right_swapped(p) for p in evaluation.predictions])


def _hallucinations(evaluation: Evaluation) -> Measured:
    return share(
        [
            None if p.truth is None else diagnose.hallucinates(p.hypothesis, read_truth(p.truth))
            for p in evaluation.predictions
        ]
    )


def _calibration_error(evaluation: Evaluation) -> Measured:
    from idc_eval.calibration import calibration_error

    return calibration_error(evaluation.confidences, evaluation.right)


def _confidence_auroc(evaluation: Evaluation) -> Measured:
    from idc_eval.calibration import confidence_auroc

    return confidence_auroc(evaluation.confidences, evaluation.right)


def _confidence_correlation(evaluation: Evaluation) -> Measured:
    from idc_eval.calibration import rank_correlation

    return rank_correlation(evaluation.confidences, evaluation.cider.per_example)


def _no_attributes(evaluation: Evaluation) -> str:
    """Return why no attribute can be checked: another language, or references that name none."""
    if evaluation.reader.foreign or any(diagnose.names_attribute(p.references) for p in evaluation.predictions):
        return evaluation.reader.foreign
    return "no reference names a colour, size, material or shape, so none can be supported"


_UNREAD = attrgetter("reader.doubt")
_UNREAD_KINDS = attrgetter("reader.doubt_of_kinds")
_OTHER_SENTENCES = attrgetter("other_sentences")
_NO_TRUTH = "no example carries `truth`, the facts of a procedural scene"
_NO_MAP = "no example carries both a `change_map` and the `regions` of a change"
_NO_SWAP = "no example carries `swapped`, the caption of the images in the other order"
_NO_CONFIDENCE = "no right and wrong captions carry `log_prob` and `truth`"
_NO_WORDS = "the hypotheses hold too few words"
METRICS: dict[str, Metric] = {
    "bleu-1": Metric(partial(_bleu, 1)),
    "bleu-2": Metric(partial(_bleu, 2)),
    "bleu-3": Metric(partial(_bleu, 3)),
    "bleu-4": Metric(partial(_bleu, 4)),
    "meteor": Metric(_meteor),
    "rouge-l": Metric(lambda evaluation: captions.rouge_l(evaluation.captions)),
    "cider": Metric(
        lambda evaluation: evaluation.cider,
        without="CIDEr weighs words by how few examples have them, so it needs two examples or more",
        min_examples=2,
    ),
    "spice": Metric(_spice, spice.WITHOUT),
    "bertscore": Metric(lambda evaluation: learned.bertscore(evaluation.predictions), learned.WITHOUT),
    "clipscore": Metric(
        lambda evaluation: learned.clipscore(evaluation.predictions, evaluation.images), learned.WITHOUT
    ),
    "statement_accuracy": Metric(
        partial(_verdict_share, "statement_right"), _NO_TRUTH, doubt=_OTHER_SENTENCES, judges=True, unit="%"
    ),
    "change_type_accuracy": Metric(
        partial(_verdict_share, "type_right"), _NO_TRUTH, doubt=_OTHER_SENTENCES, judges=True, unit="%"
    ),
    "attribute_accuracy": Metric(
        partial(_verdict_share, "attributes_right"),
        f"{_NO_TRUTH} with a change",
        doubt=_OTHER_SENTENCES,
        judges=True,
        unit="%",
    ),
    "false_alarm_rate": Metric(
        _false_alarms,
        "no example is marked `changed: false`",
        doubt=_UNREAD,
        judges=True,
        lower_is_better=True,
        unit="%",
    ),
    "miss_rate": Metric(
        _misses, "no example is marked `changed: true`", doubt=_UNREAD, judges=True, lower_is_better=True, unit="%"
    ),
    "hallucination_rate": Metric(
        _hallucinations, _NO_TRUTH, doubt=_OTHER_SENTENCES, judges=True, lower_is_better=True, unit="%"
    ),
    "unsupported_attribute_rate": Metric(
        partial(_each, diagnose.unsupported_attribute),
        "no hypothesis names a colour, size, material or shape",
        judges=True,
        doubt=_no_attributes,
        lower_is_better=True,
        unit="%",
    ),
    "pointing_game": Metric(_pointing_game, _NO_MAP, judges=True, unit="%"),
    "coverage": Metric(_coverage, _NO_MAP, judges=True, unit="%"),
    "swap_consistency": Metric(_swap_consistency, _NO_SWAP, doubt=_UNREAD_KINDS, judges=True, unit="%"),
    "swapped_accuracy": Metric(_swapped, f"{_NO_TRUTH}, and `swapped`", doubt=_OTHER_SENTENCES, judges=True, unit="%"),
    "distinct-1": Metric(lambda evaluation: diagnose.distinct(evaluation.captions.hypotheses, 1), _NO_WORDS, unit="%"),
    "distinct-2": Metric(lambda evaluation: diagnose.distinct(evaluation.captions.hypotheses, 2), _NO_WORDS, unit="%"),
    "commonest_share": Metric(
        lambda evaluation: diagnose.commonest_share(evaluation.captions.hypotheses), lower_is_better=True, unit="%"
    ),
    "calibration_error": Metric(_calibration_error, _NO_CONFIDENCE, doubt=_OTHER_SENTENCES, lower_is_better=True),
    "confidence_auroc": Metric(_confidence_auroc, _NO_CONFIDENCE, doubt=_OTHER_SENTENCES),
    "confidence_correlation": Metric(
        _confidence_correlation, "no three examples carry a `log_prob`, or they do not vary", min_examples=3
    ),
}
"""All metrics by name. Add a new one here."""

DIAGNOSTICS = tuple(METRICS)[tuple(METRICS).index("false_alarm_rate") :]
"""Diagnostics of a system, beside its scores."""

SHORTHANDS = {"bleu": ("bleu-1", "bleu-2", "bleu-3", "bleu-4")}
FAST_METRICS = tuple(name for name in METRICS if name not in ("meteor", "spice", "bertscore", "clipscore"))
"""All metrics but METEOR and SPICE, which need Java processes of 2 and 8 GB, and those computed by models."""


def metric_names(metrics: Iterable[str]) -> list[str]:
    """Spell out shorthands, drop repetitions, and refuse unknown names.

    Raises:
        ValueError: A name is not a metric (the message has the nearest one), or there are no names.
    """
    if isinstance(metrics, str):
        raise ValueError(f"metrics is {metrics!r}, expected a list of names such as [{metrics!r}]")
    names: dict[str, None] = {}
    for name in metrics:
        for full in SHORTHANDS.get(name, (name,)):
            if full not in METRICS:
                hint = f"{did_you_mean(name, [*METRICS, *SHORTHANDS], cutoff=0.4)} Available: ".lstrip()
                raise ValueError(f"unknown metric {name!r}; {hint}{', '.join([*SHORTHANDS, *METRICS])}")
            names[full] = None
    if not names:
        raise ValueError(f"no metric named, expected some of: {', '.join([*SHORTHANDS, *METRICS])}")
    return list(names)


def _right_swapped(prediction: Prediction) -> bool:
    assert prediction.truth is not None and prediction.swapped is not None
    return judge(prediction.swapped, diagnose.inverse_truth(prediction.truth)).statement_right


def shown(name: str, value: float, *, signed: bool = False, unit: bool = True) -> str:
    """Format a metric for people: x 100 with one decimal (also CIDEr), shares with %.

    Files, JSON and MLflow keep the raw scale, 0..1 and CIDEr's 0..10.

    Args:
        name: Name of the metric; a prefix up to a slash is ignored, as in `val/cider`. Other quantities, such as a
            loss, are shown unscaled.
        value: Value on the raw scale.
        signed: Put a + before non-negative values, as for differences.
        unit: Whether to append `%`; a column of numbers has it in its heading.
    """
    metric, sign = METRICS.get(name.rpartition("/")[2]), "+" if signed else ""
    if not math.isfinite(value):
        return "-"
    if metric is None:
        return f"{value:{sign}.4g}"
    return f"{100 * value:{sign}.1f}" + (f" {metric.unit}" if unit and metric.unit else "")


def labelled(name: str) -> str:
    """Return a metric's name with its unit, to label a row or column of bare numbers."""
    metric = METRICS.get(name)
    return f"{name} ({metric.unit})" if metric and metric.unit else name
