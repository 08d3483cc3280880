"""Statistics of several people's answers: agreement, significance, and rank correlation.

Sources: Krippendorff, "Content Analysis", 4th ed., 2019 (alpha); Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993; Noreen, "Computer-Intensive Methods for Testing Hypotheses", 1989.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import krippendorff
import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, permutation_test, rankdata, spearmanr

_AT_ONCE = 1_000  # draws held in memory at once


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha: 1 is full agreement, 0 is chance.

    Attributes:
        value: Alpha; None if it is undefined.
        low: Lower end of the 95 % bootstrap interval over items; None if too few items were judged twice.
        high: Upper end of that interval.
        items: Number of items judged by two or more raters.
        note: Why there is no value; else empty.
    """

    value: float | None
    low: float | None
    high: float | None
    items: int
    note: str = ""


def alpha(
    answers: Sequence[Sequence[int]], level: Literal["ordinal", "nominal"], *, draws: int = 1_000, seed: int = 0
) -> Alpha:
    """Compute Krippendorff's alpha of raters.

    Args:
        answers: For each item, the answers of its raters.
        level: Level of measurement: `ordinal` for scales, `nominal` for choices.
        draws: Number of draws of the bootstrap.
        seed: Seed of the draws.
    """
    shared = [votes for votes in answers if len(votes) > 1]
    if not shared:
        return Alpha(None, None, None, 0, "no item was judged by two raters")
    values = sorted({value for votes in shared for value in votes})
    if len(values) < 2:
        note = f"every answer is {values[0]}: alpha is undefined without variation"
        return Alpha(None, None, None, len(shared), note)
    counts = np.array([[list(votes).count(value) for value in values] for votes in shared])

    def measured(rows: NDArray[np.int64]) -> float:
        return float(krippendorff.alpha(value_counts=rows, value_domain=values, level_of_measurement=level))

    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws if len(shared) > 1 else 0):
        rows = counts[rng.integers(0, len(shared), len(shared))]
        if (rows.sum(0) > 0).sum() > 1:
            drawn.append(measured(rows))
    low, high = _quantiles(drawn, draws)
    return Alpha(measured(counts), low, high, len(shared))


def sign_flips(differences: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of a paired randomisation test of the mean difference.

    It is exact where `draws` covers all assignments of signs.
    """
    values = np.asarray(differences, float)
    if len(values) < 2:  # either sign is as large
        return 1.0
    sampled = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=draws, batch=_AT_ONCE, rng=seed
    )
    return float(sampled.pvalue)


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of a metric with people.

    Attributes:
        spearman: Spearman's correlation; None if either side is constant.
        low: Lower end of its 95 % bootstrap interval over image pairs.
        high: Upper end of that interval.
        p: p-value of no correlation, as if the items were independent.
        kendall: Kendall's tau-b.
        kendall_p: Its p-value.
        items: Number of items with both values.
        note: Why there is no value; else empty.
    """

    spearman: float | None
    low: float | None
    high: float | None
    p: float | None
    kendall: float | None
    kendall_p: float | None
    items: int
    note: str = ""


def correlation(
    metric: Sequence[float], people: Sequence[float], pairs: Sequence[str], *, draws: int = 1_000, seed: int = 0
) -> Correlation:
    """Correlate a metric with people, item by item; items that the metric does not judge (NaN) are left out.

    Args:
        metric: The metric's value for each item.
        people: Mean of people's answers for each item.
        pairs: Pair of each item; captions of one pair are drawn together.
        draws: Number of draws of the bootstrap.
        seed: Seed of the draws.
    """
    kept = [row for row, value in enumerate(metric) if not math.isnan(value)]
    x, y = (np.array([side[row] for row in kept], float) for side in (metric, people))
    nothing = (None, None, None, None, None, None, len(kept))
    if len(kept) < 3:
        return Correlation(*nothing, "fewer than three items have both values")
    if np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return Correlation(*nothing, f"{'the metric' if np.ptp(x) < 1e-12 else 'the human mean'} does not vary")
    places: dict[str, list[int]] = {}
    for place, row in enumerate(kept):
        places.setdefault(pairs[row], []).append(place)
    groups = [np.array(group) for group in places.values()]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = np.concatenate([groups[at] for at in rng.integers(0, len(groups), len(groups))])
        if np.ptp(x[rows]) > 1e-12 and np.ptp(y[rows]) > 1e-12:
            drawn.append(float(np.corrcoef(rankdata(x[rows]), rankdata(y[rows]))[0, 1]))
    low, high = _quantiles(drawn, draws)
    (rho, p), (tau, tau_p) = (np.asarray(tuple(test(x, y)), float).tolist() for test in (spearmanr, kendalltau))
    return Correlation(rho, low, high, p, tau, tau_p, len(kept))


def _quantiles(drawn: Sequence[float], draws: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval; (None, None) if most draws had no value."""
    if len(drawn) <= draws / 2:
        return None, None
    low, high = map(float, np.quantile(drawn, [0.025, 0.975]))
    return low, high
