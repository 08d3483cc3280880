"""Several runs of one system that differ in their seed: how much of a score is chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from idc_eval.score import Scores


@dataclass(frozen=True)
class Aggregate:
    """One metric over several seeds.

    Attributes:
        metric: Its name.
        values: One for each run, in the order given.
        mean: Their mean.
        deviation: Their standard deviation (n - 1); None for one run.
        low: Of the 95 % interval of the mean by Student's t; None for one run.
        high: Its other end.
    """

    metric: str
    values: list[float]
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def aggregate(runs: Sequence[Scores]) -> list[Aggregate]:
    """Sum up the scores of several runs; metrics that a run lacks are left out.

    The interval is about seeds: what another training would give on the same pairs. How much depends on the pairs is
    what `compare.interval` says.

    Raises:
        ValueError: There is no run, or they were scored on other numbers of pairs or under several protocols.
    """
    if not runs:
        raise ValueError("there are no runs to sum up, expected one or more")
    kinds = {(scores.protocol, scores.n) for scores in runs}
    if len(kinds) > 1:
        told = ", ".join(f"{n:,} pairs under {protocol}" for protocol, n in sorted(kinds))
        raise ValueError(f"the runs were not scored alike: {told}; score them on one test set under one protocol")
    shared = [name for name in runs[0].values if all(name in scores.values for scores in runs)]
    return [_aggregate(name, [scores.values[name] for scores in runs]) for name in shared]


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean by Student's t: what stands behind `+-`; NaN for one value."""
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
