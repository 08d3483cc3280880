"""After the last trial: plots and a table."""

import tempfile
import warnings
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from idc_eval.metrics import shown
from idc_eval.seeds import half_width
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from idc_run.console import Console
from idc_run.sweeps.queue import again
from idc_run.sweeps.study import Sweep
from idc_run.tracking import parent


def finish(sweep: Sweep, console: Console) -> None:
    """Log the results once, and print them.

    Raises:
        ValueError: No trial has completed.
    """
    try:
        best = sweep.best()
    except ValueError:
        if run := sweep.study.user_attrs.get("run"):
            parent.fail(run)
        raise
    with sweep.lock("finish"):
        known = [trial.number for trial in sweep.trials() if trial.state.is_finished()]
        if sweep.study.user_attrs.get("finished") != len(known):
            _write_down(sweep)
            sweep.study.set_user_attr("finished", len(known))
    _print(sweep, best, console)


def seeds(sweep: Sweep) -> list[dict[str, float]]:
    """Return the test scores of the best trial, one entry per completed seed."""
    wanted = {again(sweep.best(), seed) for seed in range(sweep.search.seeds)}
    ended = (trial.user_attrs for trial in sweep.trials() if trial.state == TrialState.COMPLETE)
    return [
        {name.removeprefix("test/"): value for name, value in told.items() if name.startswith("test/")}
        for told in ended
        if told.get("item") in wanted
    ]


def _write_down(sweep: Sweep) -> None:
    """Log plots, trials and the mean over seeds to the parent run."""
    run = sweep.study.user_attrs.get("run")
    if not run:
        return
    metrics = {f"best/{name}": value for name, value in zip(sweep.objectives, sweep.best().values, strict=True)}
    scores = seeds(sweep)
    for metric in scores[0] if scores else ():
        values = [each[metric] for each in scores if metric in each]
        metrics[f"test/{metric}"] = fmean(values)
        if len(values) > 1:
            metrics[f"test_deviation/{metric}"] = stdev(values)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep.study.trials_dataframe().to_csv(folder / "trials.csv", index=False)
        _plots(sweep, folder)
        parent.finish(run, folder, metrics)


def _plots(sweep: Sweep, folder: Path) -> None:
    """Save Optuna's plots, except those for which the study has too few trials."""
    import matplotlib.pyplot as plt
    import optuna
    from optuna.visualization import matplotlib as pictures

    # The plots leave out repetitions of the best trial.
    searched = optuna.create_study(directions=list(sweep.objectives.values()))
    searched.add_trials([trial for trial in sweep.searched() if trial.state.is_finished()])
    names = list(sweep.objectives)
    wanted: dict[str, Any] = {}
    for at, name in enumerate(names):
        of_one = {"target": lambda trial, at=at: trial.values[at], "target_name": name}
        told = {} if len(names) == 1 else of_one
        suffix = "" if len(names) == 1 else f"_{name}"
        wanted[f"history{suffix}"] = (pictures.plot_optimization_history, told)
        wanted[f"importance{suffix}"] = (pictures.plot_param_importances, told)
        wanted[f"parallel{suffix}"] = (pictures.plot_parallel_coordinate, told)
    if 1 < len(names) < 4:
        wanted["pareto"] = (pictures.plot_pareto_front, {"target_names": names})
    for name, (draw, told) in wanted.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns that these plots are experimental
            try:
                draw(searched, **told)
            except (ValueError, RuntimeError):
                continue
            plt.gcf().set_size_inches(9, 5)
            plt.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
            plt.close("all")


def _print(sweep: Sweep, best: FrozenTrial, console: Console) -> None:
    trials = sweep.searched()
    states = {state: sum(t.state == state for t in trials) for state in TrialState}
    table = Table(title=f"{sweep.spec.name}: {states[TrialState.COMPLETE]} trials", title_justify="left")
    table.add_column("trial", justify="right")
    for name in (*sweep.search.space, *sweep.objectives):
        table.add_column(name, overflow="fold")
    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda trial: trial.values[0])
    if next(iter(sweep.objectives.values())) == "maximize":
        complete.reverse()
    for trial in complete[:10]:
        words = [str(trial.params.get(path, "")) for path in sweep.search.space]
        values = zip(sweep.objectives, trial.values, strict=True)
        table.add_row(str(trial.number), *words, *(shown(name, value) for name, value in values))
    console.show(table)
    console.say(
        f"{states[TrialState.PRUNED]} pruned, {states[TrialState.FAIL]} failed or restarted; "
        f"the best is trial {best.number}"
    )
    runs = seeds(sweep)
    for metric in runs[0] if runs else ():
        values = [run[metric] for run in runs if metric in run]
        spread = f" +- {shown(metric, half_width(values))}" if len(values) > 1 else ""  # half of the 95 % interval
        console.say(f"  test/{metric:24s} {shown(metric, fmean(values))}{spread} ({len(values)} seeds)")
    if not sweep.search.seeds and sweep.spec.tracking == "mlflow":
        console.say(f"the table over seeds: uv run idc-table {sweep.spec.name}")
