"""The metrics: a table from each name to what computes it."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from idc_eval import captions, learned, spice
from idc_eval import diagnostics as diagnose
from idc_eval.changed import claims_change
from idc_eval.measured import Measured, average, share
from idc_eval.meteor import Meteor
from idc_eval.prediction import Prediction
from idc_eval.protocols import Protocol
from idc_eval.scene_truth import Verdict, judge, read_truth


class Evaluation:
    """What the metrics of one set of predictions share, each computed once and only if a metric asks for it."""

    def __init__(
        self, predictions: Sequence[Prediction], meteor: Meteor, protocol: Protocol, images: Path | None = None
    ) -> None:
        self.predictions = predictions
        self.meteor = meteor
        self.protocol = protocol
        self.images = images

    @cached_property
    def captions(self) -> captions.Captions:
        """The tokenised captions."""
        return self.protocol.captions(self.predictions)

    @cached_property
    def bleu(self) -> list[Measured]:
        """BLEU-1 to BLEU-4."""
        return captions.bleu(self.captions)

    @cached_property
    def verdicts(self) -> list[Verdict | None]:
        """What is right about each hypothesis, None where the scene's truth is not known."""
        return [None if p.truth is None else _verdict(p) for p in self.predictions]

    @cached_property
    def confidences(self) -> list[float]:
        """The model's mean probability of a word of each hypothesis."""
        from idc_eval.calibration import confidence

        return [confidence(p) for p in self.predictions]

    @cached_property
    def cider(self) -> Measured:
        """CIDEr-D."""
        return captions.cider(self.captions)

    @property
    def right(self) -> list[bool | None]:
        """Whether each hypothesis is right, None where the scene's truth is not known."""
        return [verdict and verdict.statement_right for verdict in self.verdicts]

    @cached_property
    def claims(self) -> list[bool]:
        """Whether each hypothesis claims a change."""
        return [claims_change(p.hypothesis) for p in self.predictions]


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, and what is missing where it can judge no example at all."""

    compute: Callable[[Evaluation], Measured]
    without: str = "there is no example"
    min_examples: int = 1
    judges: bool = False
    """Each example is judged on its own, so the metric can be broken down by change type."""
    lower_is_better: bool = False


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
    "statement_accuracy": Metric(partial(_verdict_share, "statement_right"), _NO_TRUTH, judges=True),
    "change_type_accuracy": Metric(partial(_verdict_share, "type_right"), _NO_TRUTH, judges=True),
    "attribute_accuracy": Metric(
        partial(_verdict_share, "attributes_right"), f"{_NO_TRUTH} with a change", judges=True
    ),
    "false_alarm_rate": Metric(
        _false_alarms, "no example is marked `changed: false`", judges=True, lower_is_better=True
    ),
    "miss_rate": Metric(_misses, "no example is marked `changed: true`", judges=True, lower_is_better=True),
    "hallucination_rate": Metric(_hallucinations, _NO_TRUTH, judges=True, lower_is_better=True),
    "unsupported_attribute_rate": Metric(
        partial(_each, diagnose.unsupported_attribute),
        "no hypothesis names a colour, size, material or shape",
        judges=True,
        lower_is_better=True,
    ),
    "pointing_game": Metric(_pointing_game, _NO_MAP, judges=True),
    "coverage": Metric(_coverage, _NO_MAP, judges=True),
    "swap_consistency": Metric(partial(_each, diagnose.swap_consistency), _NO_SWAP, judges=True),
    "swapped_accuracy": Metric(_swapped, f"{_NO_TRUTH}, and `swapped`", judges=True),
    "distinct-1": Metric(lambda evaluation: diagnose.distinct(evaluation.captions.hypotheses, 1), _NO_WORDS),
    "distinct-2": Metric(lambda evaluation: diagnose.distinct(evaluation.captions.hypotheses, 2), _NO_WORDS),
    "commonest_share": Metric(
        lambda evaluation: diagnose.commonest_share(evaluation.captions.hypotheses), lower_is_better=True
    ),
    "calibration_error": Metric(_calibration_error, _NO_CONFIDENCE, lower_is_better=True),
    "confidence_auroc": Metric(_confidence_auroc, _NO_CONFIDENCE),
    "confidence_correlation": Metric(
        _confidence_correlation, "no three examples carry a `log_prob`, or they do not vary", min_examples=3
    ),
}
"""Every metric by its name: add one here."""

DIAGNOSTICS = tuple(METRICS)[tuple(METRICS).index("false_alarm_rate") :]
"""What is worth knowing of a system beside its scores."""

SHORTHANDS = {"bleu": ("bleu-1", "bleu-2", "bleu-3", "bleu-4")}
FAST_METRICS = tuple(name for name in METRICS if name not in ("meteor", "spice", "bertscore", "clipscore"))
"""All but METEOR and SPICE, which need Java processes of 2 and 8 GB, and those that are models."""


def metric_names(metrics: Iterable[str]) -> list[str]:
    """Spell out shorthands, drop repetitions, and refuse unknown names.

    Raises:
        ValueError: A name that is no metric (with the nearest one that is), or no name at all.
    """
    if isinstance(metrics, str):
        raise ValueError(f"metrics is {metrics!r}, expected a list of names such as [{metrics!r}]")
    names: dict[str, None] = {}
    for name in metrics:
        for full in SHORTHANDS.get(name, (name,)):
            if full not in METRICS:
                near = difflib.get_close_matches(name, [*METRICS, *SHORTHANDS], n=1, cutoff=0.4)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"unknown metric {name!r}; {hint}There are: {', '.join([*SHORTHANDS, *METRICS])}")
            names[full] = None
    if not names:
        raise ValueError(f"no metric named, expected some of: {', '.join([*SHORTHANDS, *METRICS])}")
    return list(names)


def _right_swapped(prediction: Prediction) -> bool:
    assert prediction.truth is not None and prediction.swapped is not None
    return judge(prediction.swapped, diagnose.inverse_truth(prediction.truth)).statement_right


def _verdict(prediction: Prediction) -> Verdict:
    assert prediction.truth is not None
    try:
        return judge(prediction.hypothesis, prediction.truth)
    except ValueError as error:
        raise ValueError(f"example {prediction.id!r}: {error}") from error
