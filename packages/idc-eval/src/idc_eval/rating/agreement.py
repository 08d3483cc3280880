"""Evaluate a study: agreement of raters, which system is better, and which metrics agree with people.

The unit of sampling is the image pair: an interval covers other pairs with the same raters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
from scipy.stats import binomtest

from idc_eval.compare import holm, interval
from idc_eval.rating.judged import Answer, Rater, means, read_answers
from idc_eval.rating.measures import Alpha, Correlation, alpha, correlation, sign_flips
from idc_eval.rating.store import Ratings
from idc_eval.score import score

METRICS = ("bleu-4", "rouge-l", "cider", "statement_accuracy")
"""Metrics compared with people by default; those without a value are left out."""


@dataclass(frozen=True)
class Mean:
    """Mean rating of a system; `low` and `high` are the 95 % bootstrap interval, None for one pair."""

    question: str
    system: str
    value: float
    low: float | None
    high: float | None
    pairs: int


@dataclass(frozen=True)
class Contrast:
    """Second system minus first, over pairs where both were judged; `p_holm` is adjusted for several contrasts."""

    question: str
    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    pairs: int


@dataclass(frozen=True)
class Preference:
    """Which of two systems is preferred.

    Attributes:
        first: One system.
        second: The other system.
        wins: Share of answers for the first, for neither, and for the second: means over pairs.
        low: Lower ends of the 95 % intervals of the first's and the second's share.
        high: Upper ends of these intervals.
        pairs: Number of pairs where most raters prefer the first, where raters are split evenly, and where most prefer
            the second.
        p: p-value of a sign test over pairs.
        same: Share of all pairs with equal captions, which raters were not asked about.
        left: How often the left sentence was chosen, out of `decided`.
        decided: Number of choices for either sentence.
    """

    first: str
    second: str
    wins: tuple[float, float, float]
    low: tuple[float | None, float | None]
    high: tuple[float | None, float | None]
    pairs: tuple[int, int, int]
    p: float
    same: float
    left: int
    decided: int


@dataclass(frozen=True)
class Agreement:
    """The outcome of a study.

    Attributes:
        raters: All raters, including those whose answers do not count.
        judgements: Number of answers that count.
        alphas: Krippendorff's alpha by question.
        means: Mean of each system on each question; `scale` only.
        contrasts: Contrast of every two systems; `scale` only.
        preference: Preference between the two systems; `prefer` only.
        correlations: Correlation with people by question and metric.
        notes: Reasons why something could not be computed.
    """

    raters: list[Rater]
    judgements: int
    alphas: dict[str, Alpha]
    means: list[Mean]
    contrasts: list[Contrast]
    preference: Preference | None
    correlations: dict[str, dict[str, Correlation]]
    notes: list[str]


def agreement(
    ratings: Ratings,
    metrics: Sequence[str] = METRICS,
    *,
    passing: float = 0.5,
    keep_all: bool = False,
    draws: int = 1_000,
    seed: int = 0,
) -> Agreement:
    """Evaluate a study.

    Args:
        ratings: The study.
        metrics: Metrics to correlate with people, see `idc_eval.score`; may be empty.
        passing: Share of attention checks that a rater must pass.
        keep_all: Also count raters who did not pass.
        draws: Number of draws of each bootstrap.
        seed: Seed of the draws.

    Raises:
        ValueError: There are no answers, none counts, or a metric is unknown.
    """
    raters, answers = read_answers(ratings, passing=passing, keep_all=keep_all)
    by_question = {name: [a for a in answers if a.question == name] for name in ratings.questions}
    by_question = {name: answered for name, answered in by_question.items() if answered}
    alphas = {
        name: alpha(_by_item(answered), ratings.questions[name].level, draws=draws, seed=seed)
        for name, answered in by_question.items()
    }
    notes = [f"alpha of {name}: {each.note}" for name, each in alphas.items() if each.note]
    prefer = ratings.settings.mode == "prefer"
    names = list(ratings.settings.systems)
    all_means, contrasts, preference = [], [], None
    if prefer:
        preference = _preference(names, answers, ratings.same)
    else:
        for question, answered in by_question.items():
            all_means += [mean for name in names if (mean := _mean(question, name, answered))]
            contrasts += _contrasts(question, names, answered, seed)
    correlations, missing = _correlations(ratings, by_question, metrics, draws, seed)
    return Agreement(raters, len(answers), alphas, all_means, contrasts, preference, correlations, [*notes, *missing])


def _by_item(answers: Sequence[Answer]) -> list[list[int]]:
    items: dict[str, list[int]] = {}
    for answer in answers:
        items.setdefault(answer.item, []).append(answer.value)
    return list(items.values())


def _of_system(system: str, answers: Sequence[Answer]) -> dict[str, float]:
    """Return the mean over raters for each pair; a system has one caption per pair."""
    own = [answer for answer in answers if system in answer.systems]
    pairs = {answer.item: answer.pair for answer in own}
    return {pairs[item]: value for item, value in means(own).items()}


def _mean(question: str, system: str, answers: Sequence[Answer]) -> Mean | None:
    values = list(_of_system(system, answers).values())
    if not values:
        return None
    return Mean(question, system, fmean(values), *_interval(values), len(values))


def _contrasts(question: str, systems: Sequence[str], answers: Sequence[Answer], seed: int) -> list[Contrast]:
    by_system = {system: _of_system(system, answers) for system in systems}
    compared = []
    for first, second in combinations(systems, 2):
        shared = sorted(by_system[first].keys() & by_system[second].keys())
        if shared:
            compared.append((first, second, [by_system[second][pair] - by_system[first][pair] for pair in shared]))
    ps = [sign_flips(differences, seed=seed) for *_, differences in compared]
    return [
        Contrast(question, first, second, fmean(differences), *_interval(differences), p, adjusted, len(differences))
        for (first, second, differences), p, adjusted in zip(compared, ps, holm(ps), strict=True)
    ]


def _preference(systems: Sequence[str], answers: Sequence[Answer], same: float) -> Preference:
    """Evaluate preferences; each pair is exactly one item here."""
    items = _by_item(answers)
    parts = np.array([[votes.count(value) / len(votes) for value in (-1, 0, 1)] for votes in items])
    signs = [int(np.sign(sum(votes))) for votes in items]
    won, tied, lost = (signs.count(sign) for sign in (-1, 0, 1))
    (low, high), (other_low, other_high) = (_interval(list(parts[:, side])) for side in (0, 2))
    decided = [answer.left for answer in answers if answer.left is not None]
    first, neither, second = map(float, parts.mean(0))
    return Preference(
        *systems,
        wins=(first, neither, second),
        low=(low, other_low),
        high=(high, other_high),
        pairs=(won, tied, lost),
        p=float(binomtest(won, won + lost).pvalue) if won + lost else 1.0,
        same=same,
        left=sum(decided),
        decided=len(decided),
    )


def _correlations(
    ratings: Ratings, by_question: dict[str, list[Answer]], metrics: Sequence[str], draws: int, seed: int
) -> tuple[dict[str, dict[str, Correlation]], list[str]]:
    """Correlate each metric with people; also return why some have no correlation."""
    if not metrics:
        return {}, []
    values: dict[str, dict[str, dict[str, float]]] = {}  # metric, system, pair
    notes: dict[str, None] = {}
    for system in ratings.settings.systems:
        predictions = ratings.predictions(system)
        scores = score(predictions, metrics)
        for name, why in scores.skipped.items():
            notes[f"{name}: {why}"] = None
        for name in scores.values.keys() - scores.per_example.keys():
            notes[f"{name}: has no values of single captions"] = None
        for name, each in scores.per_example.items():
            values.setdefault(name, {})[system] = dict(zip([p.id for p in predictions], each, strict=True))
    correlations: dict[str, dict[str, Correlation]] = {}
    for question, answers in by_question.items():
        people = means(answers)
        items = {answer.item: answer for answer in answers}
        for name, by_system in values.items():
            if len(by_system) < len(ratings.settings.systems):
                continue
            judged = [_metric_of(items[item], by_system, ratings.settings.mode == "prefer") for item in people]
            pairs = [items[item].pair for item in people]
            result = correlation(judged, list(people.values()), pairs, draws=draws, seed=seed)
            if result.note:
                notes[f"{name} and {question}: {result.note}"] = None
            correlations.setdefault(question, {})[name] = result
    return correlations, list(notes)


def _metric_of(answer: Answer, by_system: dict[str, dict[str, float]], prefer: bool) -> float:
    """Return the metric of a caption; for a choice, the second system's minus the first's."""
    first, *others = (by_system[system][answer.pair] for system in answer.systems)
    return others[0] - first if prefer else first


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    return interval(values) if len(values) > 1 else (None, None)
