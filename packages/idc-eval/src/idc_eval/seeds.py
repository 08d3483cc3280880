"""Summarise runs of one system that differ in their seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from idc_eval.score import Scores


@dataclass(frozen=True)
class Aggregate:
    """One metric over several seeds.

    Attributes:
        metric: Name of the metric.
        values: One value per run, in the given order.
        mean: Their mean.
        deviation: Their standard deviation (n - 1); None for one run.
        low: Lower end of the mean's 95 % interval (Student's t); None for one run.
        high: Upper end of that interval.
    """

    metric: str
    values: list[float]
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def aggregate(runs: Sequence[Scores]) -> list[Aggregate]:
    """Summarise the scores of several runs; metrics that a run lacks are left out.

    The interval covers seeds: another training, scored on the same pairs. For other pairs see `compare.interval`.

    Raises:
        ValueError: There are no runs, or their numbers of pairs or protocols differ.
    """
    if not runs:
        raise ValueError("there are no runs to summarise, expected one or more")
    kinds = {(scores.protocol, scores.n) for scores in runs}
    if len(kinds) > 1:
        settings = ", ".join(f"{n:,} pairs under {protocol}" for protocol, n in sorted(kinds))
        raise ValueError(
            f"the runs were scored differently: {settings}; score them on the same test set under the same protocol"
        )
    shared = [name for name in runs[0].values if all(name in scores.values for scores in runs)]
    return [_aggregate(name, [scores.values[name] for scores in runs]) for name in shared]


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the mean's 95 % interval by Student's t, as shown after `+-`; NaN for one value."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def _aggregate(name: str, values: list[float]) -> Aggregate:
    mean = fmean(values)
    if len(values) == 1:
        return Aggregate(name, values, mean, None, None, None)
    half = half_width(values)
    return Aggregate(name, values, mean, stdev(values), mean - half, mean + half)
