"""The runs of a sweep as a table that can be published: means over seeds, intervals, significance, and a picture."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from idc_run.track import connect

SEED = "seed"


@dataclass(frozen=True)
class Cell:
    """One setting of what the sweep varied, over its seeds.

    Attributes:
        setting: Path to value, the seed left out.
        seeds: The seeds, in order.
        values: Metric to its test value for each seed.
    """

    setting: dict[str, str]
    seeds: list[int]
    values: dict[str, list[float]]

    @property
    def name(self) -> str:
        """The setting in a few words."""
        return ", ".join(self.setting.values())


@dataclass(frozen=True)
class Table:
    """All cells of a sweep.

    Attributes:
        sweep: The name of the study.
        cells: Best first, by `metric`.
        metric: What the cells are ordered and compared by.
        protocol: What the values were scored under.
        runs: How many there are.
    """

    sweep: str
    cells: list[Cell]
    metric: str
    protocol: str
    runs: int


def read_table(name: str, metric: str = "") -> Table:
    """Read the finished runs of the newest sweep of a spec.

    Args:
        name: The spec's name, or that of the study.
        metric: To order by; by default the one that chose the checkpoints.

    Raises:
        ValueError: MLflow has no tested trials of it, or they lack the metric.
    """
    mlflow = connect()
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    trials = [run for run in found if "chosen" in run.data.tags and run.data.tags["sweep"].startswith(name)]
    trials = [run for run in trials if run.data.tags["sweep"] in (name, f"{name}-{run.data.tags['sweep'][-12:]}")]
    if not trials:
        raise ValueError(f"MLflow has no tested trials of a sweep {name!r}; run it first, with seeds: 0 in its sweep")
    newest = trials[0].data.tags["sweep"]
    trials = [run for run in trials if run.data.tags["sweep"] == newest]
    metric = metric or trials[0].data.params["eval.select"]
    if any(f"test/{metric}" not in run.data.metrics for run in trials):
        known = sorted(key.removeprefix("test/") for key in trials[0].data.metrics if key.startswith("test/"))
        raise ValueError(f"not every trial of {newest} has test/{metric}; there are: {', '.join(known) or 'none'}")
    groups: dict[str, list[Any]] = {}
    for run in trials:
        setting = {k: v for k, v in json.loads(run.data.tags["chosen"]).items() if k != SEED}
        groups.setdefault(json.dumps(setting), []).append(run)
    cells = [_cell(json.loads(setting), runs) for setting, runs in groups.items()]
    cells.sort(key=lambda cell: -fmean(cell.values[metric]))
    return Table(newest, cells, metric, trials[0].data.tags["protocol"], len(trials))


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean over seeds, by Student's t; NaN for one seed."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def against_best(table: Table) -> list[float]:
    """For each cell the p-value of Welch's t-test over seeds against the best, corrected by Holm; NaN for itself."""
    from scipy.stats import ttest_ind

    best, *others = (cell.values[table.metric] for cell in table.cells)
    raw = [
        float(tuple(ttest_ind(best, other, equal_var=False))[1]) if min(len(best), len(other)) > 1 else math.nan
        for other in others
    ]
    corrected, largest = list(raw), 0.0
    for rank, at in enumerate(sorted(range(len(raw)), key=lambda at: raw[at])):
        largest = max(largest, min(1.0, (len(raw) - rank) * raw[at]))
        corrected[at] = largest
    return [math.nan, *corrected]


@dataclass(frozen=True)
class Effect:
    """What one value of one setting gains over another, everything else and the seed being equal.

    Attributes:
        path: The setting.
        better: The value with the higher mean.
        worse: The other one.
        gain: Mean difference of the metric over all such pairs of runs.
        half: Half of its 95 % interval, by Student's t.
        p: Of the paired t-test.
        pairs: How many pairs there are.
    """

    path: str
    better: str
    worse: str
    gain: float
    half: float
    p: float
    pairs: int


def effects(table: Table) -> list[Effect]:
    """Compare the values of each setting over pairs of runs that differ in it alone."""
    from scipy.stats import ttest_rel

    runs = {
        (*cell.setting.items(), (SEED, str(seed))): value
        for cell in table.cells
        for seed, value in zip(cell.seeds, cell.values[table.metric], strict=True)
    }
    found = []
    for path in table.cells[0].setting:
        values = list(dict.fromkeys(cell.setting.get(path, "") for cell in table.cells))
        for one, other in combinations(values, 2):
            rest = {tuple(item for item in key if item[0] != path): key for key in runs if (path, one) in key}
            twins = {tuple(item for item in key if item[0] != path): key for key in runs if (path, other) in key}
            gains = [runs[rest[key]] - runs[twins[key]] for key in rest.keys() & twins.keys()]
            if len(gains) < 2:
                continue
            better, worse = (one, other) if fmean(gains) >= 0 else (other, one)
            p = float(tuple(ttest_rel(gains, [0.0] * len(gains)))[1])
            found.append(Effect(path, better, worse, abs(fmean(gains)), half_width(gains), p, len(gains)))
    return found


def markdown(table: Table, metrics: Sequence[str]) -> str:
    """The table as Markdown: mean and 95 % interval over seeds."""
    paths = list(table.cells[0].setting)
    header = [*paths, "seeds", *metrics, f"p against the best ({table.metric})"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for cell, p in zip(table.cells, against_best(table), strict=True):
        shown = [_shown(cell.values[metric]) if metric in cell.values else "" for metric in metrics]
        words = [cell.setting.get(path, "") for path in paths]
        lines.append(f"| {' | '.join([*words, str(len(cell.seeds)), *shown, '' if math.isnan(p) else f'{p:.3f}'])} |")
    if told := effects(table):
        lines += [
            "",
            f"| everything else and the seed equal | gain in {table.metric} | p (paired t) | pairs |",
            "|---|---|---|---|",
        ]
    for each in told:
        gain = f"{100 * each.gain:.1f} +- {100 * each.half:.1f}"
        lines.append(f"| {each.path}: {each.better} over {each.worse} | {gain} | {each.p:.3f} | {each.pairs} |")
    return "\n".join(lines) + "\n"


def csv(table: Table) -> str:
    """Every run in a line."""
    paths, metrics = list(table.cells[0].setting), list(table.cells[0].values)
    lines = [",".join([*paths, SEED, *metrics])]
    for cell in table.cells:
        for at, seed in enumerate(cell.seeds):
            values = [repr(cell.values[metric][at]) if metric in cell.values else "" for metric in metrics]
            lines.append(",".join([*(cell.setting.get(path, "") for path in paths), str(seed), *values]))
    return "\n".join(lines) + "\n"


def picture(table: Table, path: Path) -> None:
    """Draw every run as a dot, and mean and interval of each cell."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 0.5 * len(table.cells)), layout="constrained")
    axes = figure.subplots()
    for row, cell in enumerate(table.cells):
        values = cell.values[table.metric]
        half = half_width(values)
        axes.errorbar(fmean(values), row, xerr=None if math.isnan(half) else half, fmt="o", color="#1f6feb", capsize=4)
        axes.plot(values, [row] * len(values), "o", color="#8b949e", ms=4, zorder=3)
    axes.set_yticks(range(len(table.cells)), [cell.name for cell in table.cells])
    axes.invert_yaxis()
    axes.set_xlabel(f"test/{table.metric}: every seed, mean and 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


def write_table(table: Table, folder: Path, metrics: Sequence[str]) -> Path:
    """Write Markdown, CSV and the picture to a folder; gives the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    name = table.sweep[:-13] if table.sweep[-13:-12] == "-" else table.sweep
    page = folder / f"{name}.md"
    page.write_text(
        f"# {name}\n\n{table.runs} runs, each tested once, protocol {table.protocol}, values x 100: mean over seeds +- "
        "half of the 95 % interval (Student's t). p: Welch's t-test over seeds against the first line, corrected by "
        "Holm; below, what a value gains over another where all else and the seed are equal, by a paired t-test, not "
        "corrected.\n\n"
        f"{markdown(table, metrics)}\n![Every run]({name}.png)\n",
        encoding="utf-8",
    )
    (folder / f"{name}.csv").write_text(csv(table), encoding="utf-8")
    picture(table, folder / f"{name}.png")
    return page


def _cell(setting: dict[str, str], runs: Sequence[Any]) -> Cell:
    ordered = sorted(runs, key=lambda run: int(run.data.params[SEED]))
    names = [key for key in ordered[0].data.metrics if key.startswith("test/")]
    values = {
        name.removeprefix("test/"): [run.data.metrics[name] for run in ordered]
        for name in names
        if all(name in run.data.metrics for run in ordered)
    }
    return Cell(setting, [int(run.data.params[SEED]) for run in ordered], values)


def _shown(values: Sequence[float]) -> str:
    half = half_width(values)
    return f"{100 * fmean(values):.1f}" + ("" if math.isnan(half) else f" +- {100 * half:.1f}")
