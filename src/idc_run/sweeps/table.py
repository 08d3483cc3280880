"""The runs of a sweep as cells over seeds, and the gains of one setting over another, paired by seed."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from idc_eval.metrics import METRICS, metric_names
from idc_eval.seeds import half_width

from idc_run.tracking.runs import Finished, planned, trials

SEED = "seed"
_COMMON = ("statement_accuracy", "false_alarm_rate", "miss_rate", "bleu-4", "meteor", "rouge-l", "cider")
_HASH = "-[0-9a-f]{12}"
_NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Cell:
    """One combination of the settings that the sweep varied, over its seeds.

    Attributes:
        setting: Path to value, without the seed.
        seeds: The seeds, in order.
        values: For each metric, its test values by seed.
    """

    setting: dict[str, str]
    seeds: list[int]
    values: dict[str, list[float]]

    @property
    def name(self) -> str:
        """A short name of the setting."""
        return ", ".join(self.setting.values())


@dataclass(frozen=True)
class Table:
    """All cells of a sweep.

    Attributes:
        sweep: The name of the study, which ends with the hash of its spec.
        cells: The cells, best first by `metric`.
        metric: The metric to rank and compare by.
        protocol: The protocol of the values.
        runs: Number of runs.
        planned: Planned number of runs; None if it was not recorded.
    """

    sweep: str
    cells: list[Cell]
    metric: str
    protocol: str
    runs: int
    planned: int | None = None

    @property
    def name(self) -> str:
        """The name of the spec."""
        return re.sub(f"{_HASH}$", "", self.sweep)

    @property
    def paths(self) -> list[str]:
        """The paths that any cell sets."""
        return list(dict.fromkeys(path for cell in self.cells for path in cell.setting))


def columns(table: Table, wanted: str = "") -> list[str]:
    """Return the metrics to show: the comma-separated `wanted` ones, or the common ones that all runs have.

    Raises:
        ValueError: There is no such metric, or a run lacks it.
    """
    names = metric_names(name.strip() for name in wanted.split(",")) if wanted else _COMMON
    there = [name for name in names if all(name in cell.values for cell in table.cells)]
    if wanted and (lacking := [name for name in names if name not in there]):
        known = sorted(set.intersection(*(set(cell.values) for cell in table.cells)))
        raise ValueError(f"not every trial of {table.sweep} has test/{lacking[0]}; there are: {', '.join(known)}")
    return there


def lower_is_better(metric: str) -> bool:
    """Return whether lower values of a metric are better."""
    return metric in METRICS and METRICS[metric].lower_is_better


def read_table(name: str, metric: str = "") -> Table:
    """Read the finished runs of the newest sweep of a spec; of runs with the same settings and seed, the newest.

    Args:
        name: The name of the spec or of the study.
        metric: The metric to rank by; default: the one that chose the checkpoints.

    Raises:
        ValueError: MLflow has no tested trials of it, or they lack the metric.
    """
    of_name = re.compile(f"{re.escape(name)}({_HASH})?")
    found = [run for run in trials() if of_name.fullmatch(run.tags["sweep"])]
    if not found:
        raise ValueError(
            f"MLflow has no tested trials of a sweep {name!r}; run it first, with `seeds: 0` in its sweep section"
        )
    newest = found[0]
    study = newest.tags["sweep"]
    tested = [run for run in found if run.tags["sweep"] == study]
    metric = metric or newest.params["eval.select"]
    if not any(name.startswith("test/") for run in tested for name in run.metrics):
        raise ValueError(
            f"the trials of {study} were not tested: with seeds above 0 only the best one is. To compare all trials in "
            "a table, run it with -s sweep.seeds=0"
        )
    if any(f"test/{metric}" not in run.metrics for run in tested):
        known = sorted(key.removeprefix("test/") for key in newest.metrics if key.startswith("test/"))
        raise ValueError(f"not every trial of {study} has test/{metric}; there are: {', '.join(known) or 'none'}")
    cells = group(tested)
    cells.sort(key=lambda cell: fmean(cell.values[metric]), reverse=not lower_is_better(metric))
    runs = sum(len(cell.seeds) for cell in cells)
    return Table(study, cells, metric, newest.tags["protocol"], runs, planned(newest))


def group(tested: Sequence[Finished]) -> list[Cell]:
    """Group tested trials, the newest first, into cells; of repeated trials only the newest counts."""
    groups: dict[tuple[tuple[str, str], ...], dict[int, Finished]] = {}
    for run in tested:
        setting = tuple(item for item in json.loads(run.tags["chosen"]).items() if item[0] != SEED)
        groups.setdefault(setting, {}).setdefault(int(run.params[SEED]), run)
    return [_cell(dict(setting), [runs[seed] for seed in sorted(runs)]) for setting, runs in groups.items()]


def _cell(setting: dict[str, str], runs: Sequence[Finished]) -> Cell:
    values = {
        name.removeprefix("test/"): [run.metrics[name] for run in runs]
        for name in runs[0].metrics
        if name.startswith("test/") and all(name in run.metrics for run in runs)
    }
    return Cell(setting, [int(run.params[SEED]) for run in runs], values)


@dataclass(frozen=True)
class Gain:
    """The gain of one setting over another. The unit is the seed, because runs with the same seed are not independent.

    Attributes:
        mean: Mean of the gains by seed; above 0 if the first setting is better.
        half: Half of its 95 % interval by Student's t; NaN for one seed.
        p: p-value of the paired t-test; NaN for one seed, or if all seeds gain the same.
        seeds: Number of seeds that both have.
    """

    mean: float
    half: float
    p: float
    seeds: int


def gain(by_seed: Sequence[float]) -> Gain:
    """Summarise the gains by seed."""
    from scipy.stats import t

    num = len(by_seed)
    mean, p = fmean(by_seed) if by_seed else math.nan, math.nan
    if num > 1 and stdev(by_seed) > _NO_SPREAD:
        p = 2 * float(t.sf(abs(mean) / (stdev(by_seed) / math.sqrt(num)), num - 1))
    return Gain(mean, half_width(by_seed), p, num)


def of_best(table: Table) -> list[Gain]:
    """Return the gain of the first cell over each of the others."""
    best, *others = table.cells
    return [gain(list(_by_seed(table, [(best, other)]).values())) for other in others]


@dataclass(frozen=True)
class Effect:
    """The gain of one value of a setting over another, with all other settings and the seed equal.

    Attributes:
        path: The setting.
        better: The value with the higher mean over the other settings.
        worse: The other value.
        within: Another setting and its fixed value; if empty, the gains of a seed are averaged over the other settings.
        gain: The gain of `better`.
        pairs: Number of pairs of runs.
    """

    path: str
    better: str
    worse: str
    within: tuple[str, str] | tuple[()]
    gain: Gain
    pairs: int


def effects(table: Table) -> list[Effect]:
    """Compare the values of each setting: over all other settings, then within each value of another setting."""
    found = []
    for path in table.paths:
        scopes = list(dict.fromkeys(item for cell in table.cells for item in cell.setting.items() if item[0] != path))
        for (one, other), twins in _twins(table, path).items():
            whole = _by_seed(table, twins)
            if len(whole) < 2:
                continue
            if fmean(whole.values()) < 0:
                one, other, twins = other, one, [(second, first) for first, second in twins]
            for within in ((), *sorted(scopes, key=lambda item: table.paths.index(item[0]))):
                held = [pair for pair in twins if not within or within in pair[0].setting.items()]
                by_seed = _by_seed(table, held)
                if len(by_seed) < 2 or (within and len(held) == len(twins)):
                    continue
                pairs = sum(len(set(first.seeds) & set(second.seeds)) for first, second in held)
                found.append(Effect(path, one, other, within, gain(list(by_seed.values())), pairs))
    return found


def _twins(table: Table, path: str) -> dict[tuple[str, str], list[tuple[Cell, Cell]]]:
    """Return pairs of cells that differ in one setting only, by their two values of it."""
    values = list(dict.fromkeys(cell.setting.get(path, "") for cell in table.cells))
    alike: dict[str, list[Cell]] = {}
    for cell in sorted(table.cells, key=lambda cell: values.index(cell.setting.get(path, ""))):
        alike.setdefault(json.dumps(cell.setting | {path: ""}, sort_keys=True), []).append(cell)
    found: dict[tuple[str, str], list[tuple[Cell, Cell]]] = {}
    for first, second in (pair for cells in alike.values() for pair in combinations(cells, 2)):
        found.setdefault((first.setting.get(path, ""), second.setting.get(path, "")), []).append((first, second))
    return found


def _by_seed(table: Table, pairs: Sequence[tuple[Cell, Cell]]) -> dict[int, float]:
    """Return the mean gain of the first cell of each pair over the second, by seed."""
    sign = -1 if lower_is_better(table.metric) else 1
    gains: dict[int, list[float]] = {}
    for first, second in pairs:
        ours, theirs = (dict(zip(cell.seeds, cell.values[table.metric], strict=True)) for cell in (first, second))
        for seed in sorted(ours.keys() & theirs.keys()):
            gains.setdefault(seed, []).append(sign * (ours[seed] - theirs[seed]))
    return {seed: fmean(each) for seed, each in gains.items()}
