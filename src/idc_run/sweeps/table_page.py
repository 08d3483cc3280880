"""Publishes a table as Markdown, CSV and a picture."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from idc_eval.compare import holm
from idc_eval.seeds import half_width

from idc_run.sweeps.table import SEED, Gain, Table, effects, lower_is_better, of_best

_STATISTICS = (
    "The unit is the seed. A cell is the mean over seeds +- half of the 95 % interval (Student's t). For a gain, "
    "runs are paired by seed, and the gains of a seed are averaged over the other settings; mean, interval and p "
    "(paired t-test) are computed over these numbers, one per seed. Holm: corrected for the number of tests in the "
    "same table."
)


def markdown(table: Table, metrics: Sequence[str]) -> str:
    """Return the table as Markdown: mean and 95 % interval over seeds, and gains."""
    better = f"{table.metric}, lower is better" if lower_is_better(table.metric) else table.metric
    lines = _header([*table.paths, "seeds", *metrics, f"gain of the first line ({better})", "p", "p (Holm)"])
    gains = of_best(table)
    told = [["", "", ""], *(_told(each, p) for each, p in zip(gains, holm([each.p for each in gains]), strict=True))]
    for cell, words in zip(table.cells, told, strict=True):
        setting = [cell.setting.get(path, "") for path in table.paths]
        shown = [_shown(cell.values[metric]) if metric in cell.values else "" for metric in metrics]
        lines.append(_line([*setting, str(len(cell.seeds)), *shown, *words]))
    found = effects(table)
    if found:
        lines += ["", *_header(["over", "where", f"gain in {better}", "p", "p (Holm)", "seeds", "pairs of runs"])]
    for each, p in zip(found, holm([each.gain.p for each in found]), strict=True):
        where = " is ".join(each.within) or ("the rest averaged" if each.pairs > each.gain.seeds else "the rest equal")
        words = [f"{each.path}: {each.better} over {each.worse}", where, *_told(each.gain, p)]
        lines.append(_line([*words, str(each.gain.seeds), str(each.pairs)]))
    return "\n".join(lines) + "\n"


def rows(table: Table) -> list[list[str]]:
    """Return the rows of the CSV: a header, then one row per run."""
    metrics = list(dict.fromkeys(metric for cell in table.cells for metric in cell.values))
    lines = [[*table.paths, SEED, *metrics]]
    for cell in table.cells:
        setting = [cell.setting.get(path, "") for path in table.paths]
        for at, seed in enumerate(cell.seeds):
            values = [repr(cell.values[metric][at]) if metric in cell.values else "" for metric in metrics]
            lines.append([*setting, str(seed), *values])
    return lines


def picture(table: Table, path: Path) -> None:
    """Plot every run as a dot, and mean and interval of each cell."""
    from matplotlib.figure import Figure

    from idc_run.tracking.pictures import lettering

    figure = Figure(figsize=(8, 0.6 + 0.5 * len(table.cells)), layout="constrained")
    axes = figure.subplots()
    for row, cell in enumerate(table.cells):
        values = [100 * value for value in cell.values[table.metric]]
        half = half_width(values)
        axes.errorbar(fmean(values), row, xerr=None if math.isnan(half) else half, fmt="o", color="#1f6feb", capsize=4)
        axes.plot(values, [row] * len(values), "o", color="#8b949e", ms=4, zorder=3)
    names = [lettering(cell.name, 10) for cell in table.cells]
    axes.set_yticks(range(len(names)), [name for name, _ in names])
    for label, (_, font) in zip(axes.get_yticklabels(), names, strict=True):
        label.set(font=font, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(f"test/{table.metric} x 100: every seed, mean and 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


def write_table(table: Table, folder: Path, metrics: Sequence[str]) -> Path:
    """Write Markdown, CSV and the picture to a folder; return the Markdown file.

    Raises:
        ValueError: The folder has a page of the same name that shows more runs.
    """
    page, runs = folder / f"{table.name}.md", folder / f"{table.name}.csv"
    if (before := _runs(runs)) > table.runs:
        raise ValueError(
            f"{page} shows {before} runs, but {table.sweep}, the newest study, has only {table.runs}; use another "
            "folder with --out, or give the full name of the other study (MLflow's tag `sweep`)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    planned = "how many were planned is not recorded" if table.planned is None else f"{table.planned} were planned"
    page.write_text(
        f"# {table.name}\n\nStudy {table.sweep}: {table.runs} runs ({planned}), each tested once, protocol "
        f"{table.protocol}, values x 100.\n\n{_STATISTICS}\n\n"
        f"{markdown(table, metrics)}\n![Every run]({table.name}.png)\n",
        encoding="utf-8",
    )
    with runs.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows(table))
    picture(table, folder / f"{table.name}.png")
    return page


def _runs(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _header(names: Sequence[str]) -> list[str]:
    return [_line(names), f"|{'---|' * len(names)}"]


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _told(found: Gain, corrected: float) -> list[str]:
    """Return gain with interval, p, and corrected p; empty strings for undefined values."""
    mean = "" if math.isnan(found.mean) else _with(found.mean, found.half)
    return [mean, *("" if math.isnan(p) else f"{p:.3f}" for p in (found.p, corrected))]


def _shown(values: Sequence[float]) -> str:
    return _with(fmean(values), half_width(values))


def _with(mean: float, half: float) -> str:
    return f"{100 * mean:.1f}" + ("" if math.isnan(half) else f" +- {100 * half:.1f}")
