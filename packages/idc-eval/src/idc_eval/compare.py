"""Compare two systems on the same pairs: the difference, its uncertainty, and how many pairs would be needed.

Both are scored by the same code on the same references. The unit of sampling is the pair: the interval comes from a
paired bootstrap over pairs, the p-value from a randomisation test that swaps the two systems' captions within pairs.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993; Noreen, "Computer-Intensive Methods for
Testing Hypotheses", 1989; Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics, 1979; for corpus metrics, Koehn, "Statistical Significance Tests for Machine Translation
Evaluation", EMNLP 2004.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from idc_eval.captions import bleu_sums, bleu_values
from idc_eval.meteor import Meteor, meteor_values
from idc_eval.metrics import FAST_METRICS, metric_names
from idc_eval.prediction import Prediction
from idc_eval.protocols import find_protocol
from idc_eval.score import score

_AT_ONCE = 2**22  # random numbers held in memory at once
_POWER = 0.8

Sums = NDArray[np.float64]
Combine = Callable[[Sums], NDArray[np.float64]]


@dataclass(frozen=True)
class Difference:
    """The difference between two systems in one metric.

    Attributes:
        metric: Name of the metric.
        first: Value of the first system.
        second: Value of the second system.
        low: Lower end of the 95 % bootstrap interval of second minus first.
        high: Upper end of that interval.
        p: Two-sided p-value of the randomisation test.
        pairs: Number of judged pairs.
        needed: About how many pairs would detect a true difference of this size with a power of 80 %; None if the two
            are equal.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    p: float
    pairs: int
    needed: int | None

    @property
    def value(self) -> float:
        """Return second minus first."""
        return self.second - self.first


def compare(
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    metrics: Iterable[str] = FAST_METRICS,
    *,
    protocol: str = "plain",
    no_change: Sequence[str] = (),
    draws: int = 10_000,
    seed: int = 0,
    meteor: Meteor | None = None,
) -> list[Difference]:
    """Compare two systems.

    Every draw recomputes BLEU and METEOR for the drawn corpus, but keeps CIDEr's word weights from all pairs.

    Args:
        first: Predictions of one system.
        second: Predictions of the other, for the same pairs with the same references, in any order.
        metrics: As for `score`. Metrics without a value, or without values for single pairs, are left out.
        protocol: As for `score`, for both.
        no_change: As for `score`.
        draws: Number of draws, of the bootstrap and of the randomisation test.
        seed: Seed of the draws.
        meteor: As for `score`.

    Raises:
        ValueError: The pairs or their references differ, or there are none.
    """
    second = _aligned(first, second)
    names = metric_names(metrics)
    rules = find_protocol(protocol)
    scored = [[predictions[row] for row in rules.chosen(predictions)] for predictions in (first, second)]
    words = [rules.captions(predictions) for predictions in scored] if any(map(_adds_up, names)) else []
    differences = []
    with Meteor() as own:
        running = meteor or own
        scores = [
            score(predictions, names, protocol=protocol, no_change=no_change, meteor=running)
            for predictions in (first, second)
        ]
        for name in names:
            if any(name not in each.per_example for each in scores):
                continue
            if name == "meteor":
                one, other = (running.counts(each.hypotheses, each.references) for each in words)
                combine = meteor_values
            elif _adds_up(name):
                one, other = map(bleu_sums, words)
                combine = partial(_bleu, int(name[-1]))
            else:
                one, other = (_means(each.per_example[name]) for each in scores)
                combine = _mean
            differences.append(_difference(name, one, other, combine, draws, seed))
    return differences


def difference(
    metric: str, first: Sequence[float], second: Sequence[float], *, draws: int = 10_000, seed: int = 0
) -> Difference:
    """Compare two systems by a metric that is a mean over pairs; NaN marks a pair that was not judged."""
    return _difference(metric, _means(first), _means(second), _mean, draws, seed)


def interval(per_example: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over pairs; NaN marks a pair that was not judged."""
    sums = _means(per_example)
    sums = sums[~np.isnan(sums[:, 0])]
    drawn = _mean(_resampled(sums, draws, np.random.default_rng(seed)))
    low, high = map(float, np.quantile(drawn, [0.025, 0.975]))
    return low, high


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's method for multiple tests; NaN stays NaN and does not count as a test."""
    tests = sorted((at for at, p in enumerate(ps) if not math.isnan(p)), key=lambda at: ps[at])
    corrected, largest = list(ps), 0.0
    for rank, at in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * ps[at]))
        corrected[at] = largest
    return corrected


def _bleu(order: int, sums: Sums) -> NDArray[np.float64]:
    return bleu_values(sums)[..., order - 1]


def _mean(sums: Sums) -> NDArray[np.float64]:
    return sums[..., 0] / sums[..., 1]


def _means(per_example: Sequence[float] | NDArray[np.float64]) -> Sums:
    return np.stack([np.asarray(per_example, float), np.ones(len(per_example))], axis=1)


def _difference(name: str, one: Sums, other: Sums, combine: Combine, draws: int, seed: int) -> Difference:
    kept = ~np.isnan(one[:, 0]) & ~np.isnan(other[:, 0])
    one, other = one[kept], other[kept]
    rng = np.random.default_rng(seed)
    first, second = (float(combine(each.sum(0))) for each in (one, other))
    observed = second - first
    both = np.concatenate([one, other], axis=1)
    width = one.shape[1]
    drawn = _resampled(both, draws, rng)
    differences = combine(drawn[:, width:]) - combine(drawn[:, :width])
    low, high = map(float, np.quantile(differences, [0.025, 0.975]))
    swapped = _swapped(one, other, combine, draws, rng)
    # Add one to both counts: the observed assignment is itself one of the possible permutations.
    p = float((1 + (np.abs(swapped) >= abs(observed) - 1e-12).sum()) / (1 + draws))
    needed = _needed(observed, float(differences.std()), len(one))
    return Difference(name, first, second, low, high, p, len(one), needed)


def _resampled(sums: Sums, draws: int, rng: np.random.Generator) -> Sums:
    """Return sums over pairs drawn with replacement, `draws k`."""
    num = len(sums)
    step = max(1, _AT_ONCE // num)
    parts = []
    for start in range(0, draws, step):
        size = min(step, draws - start)
        times = rng.multinomial(num, np.full(num, 1 / num), size=size)
        parts.append(times @ sums)
    return np.concatenate(parts)


def _swapped(one: Sums, other: Sums, combine: Combine, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the systems' differences after swapping their captions at random within pairs."""
    num = len(one)
    step = max(1, _AT_ONCE // num)
    total, parts = one.sum(0) + other.sum(0), []
    for start in range(0, draws, step):
        swap = rng.integers(0, 2, size=(min(step, draws - start), num)).astype(float)
        first = swap @ other + (1 - swap) @ one
        parts.append(combine(total - first) - combine(first))
    return np.concatenate(parts)


def _needed(difference: float, deviation: float, pairs: int) -> int | None:
    """Estimate the pairs needed for a two-sided test at 5 % with a power of 80 %, by the normal approximation."""
    if not difference or not deviation:
        return None
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(_POWER)
    return math.ceil(pairs * (z * deviation / difference) ** 2)


def _adds_up(name: str) -> bool:
    """Return whether a metric sums counts over pairs before dividing, instead of averaging values."""
    return name.startswith("bleu-") or name == "meteor"


def _aligned(first: Sequence[Prediction], second: Sequence[Prediction]) -> list[Prediction]:
    """Return the second system's predictions in the order of the first's."""
    if not first:
        raise ValueError("there are no predictions to compare, expected at least one")
    by_id = {prediction.id: prediction for prediction in second}
    missing = [prediction.id for prediction in first if prediction.id not in by_id]
    if missing or len(first) != len(second):
        extra = by_id.keys() - {prediction.id for prediction in first}
        raise ValueError(
            f"the two files have different pairs: {len(missing)} ids are only in the first, {len(extra)} only in the "
            f"second, such as {(missing or sorted(extra))[0]!r}; compare predictions for the same test set"
        )
    aligned = [by_id[prediction.id] for prediction in first]
    for one, other in zip(first, aligned, strict=True):
        if one.references != other.references or one.changed != other.changed:
            raise ValueError(
                f"pair {one.id!r} has different references or a different label in the second file, so their scores do "
                "not compare; predict again with the same data"
            )
    return aligned
