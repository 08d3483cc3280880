"""What comes after the last trial: the best one again over seeds, the plots, and the table."""

import tempfile
import warnings
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from idc_run import experiment
from idc_run.console import Console
from idc_run.experiment import Trial
from idc_run.space import with_values
from idc_run.spec import make_spec
from idc_run.sweep import Sweep
from idc_run.track import connect


def finish(sweep: Sweep, console: Console) -> None:
    """Train the best trial again with other seeds, test and register it, and write everything down; once.

    Raises:
        ValueError: No trial has come to its end.
    """
    with sweep.lock("finish"):
        best = best_trial(sweep)
        if sweep.study.user_attrs.get("finished") != best.number:
            for number in range(sweep.search.seeds):
                _train_again(sweep, best, number, console)
            _write_down(sweep)
            sweep.study.set_user_attr("finished", best.number)
        _print(sweep, best, console)


def best_trial(sweep: Sweep) -> FrozenTrial:
    """The best trial by the first objective.

    Raises:
        ValueError: No trial has come to its end; tells why the last one failed.
    """
    complete = sweep.study.get_trials(states=[TrialState.COMPLETE])
    if not complete:
        causes = [t.user_attrs["cause"] for t in sweep.study.get_trials() if "cause" in t.user_attrs]
        raise ValueError(f"no trial of the sweep came to its end; the last one failed with {causes[-1:] or 'no cause'}")
    up = next(iter(sweep.objectives.values())) == "maximize"
    return max(complete, key=lambda trial: trial.values[0] if up else -trial.values[0])


def _train_again(sweep: Sweep, best: FrozenTrial, number: int, console: Console) -> None:
    study, key = sweep.study, _key(best, number)
    known: dict[str, Any] = study.user_attrs.get(key, {})
    if "test" in known:
        return
    values = with_values(sweep.values, sweep.chosen(best))
    spec = make_spec({**values, "seed": make_spec(values).seed + number})
    last = experiment.folder_of(spec) / known["run"] / "last.safetensors" if "run" in known else None
    tags = {"sweep": study.study_name, "trial": key}
    if parent := study.user_attrs.get("run"):
        tags["mlflow.parentRunId"] = parent
    part = Trial(
        sweep.spec.name,
        f"best: seed {spec.seed}",
        tags,
        begun=lambda run: study.set_user_attr(key, {"run": run}),
        epoch=lambda progress, scores: None,
        test=True,
        last=last if last and last.is_file() else None,
    )
    console.say(f"the best trial, {best.number}, with seed {spec.seed}")
    result = experiment.run(spec, console, trial=part)
    assert result is not None
    study.set_user_attr(key, {"run": result.run_id, "val": result.best, "test": result.test})


def _key(best: FrozenTrial, number: int) -> str:
    # With its number: after a timeout the sweep may go on, and find another best trial.
    return f"best {best.number}, seed {number}"


def seeds(sweep: Sweep) -> list[dict[str, float]]:
    """The test scores of the best trial, one entry for each seed."""
    best = best_trial(sweep)
    found = (sweep.study.user_attrs.get(_key(best, number), {}) for number in range(sweep.search.seeds))
    return [each["test"] for each in found if "test" in each]


def _write_down(sweep: Sweep) -> None:
    """Plots, trials and the mean over seeds, at the parent run."""
    parent = sweep.study.user_attrs.get("run")
    if not parent:
        return
    client = connect().MlflowClient()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep.study.trials_dataframe().to_csv(folder / "trials.csv", index=False)
        _plots(sweep, folder)
        for path in sorted(folder.iterdir()):
            client.log_artifact(parent, str(path))
    for at, metric in enumerate(sweep.objectives):
        client.log_metric(parent, f"best/{metric}", best_trial(sweep).values[at])
    runs = seeds(sweep)
    for metric in runs[0] if runs else ():
        values = [run[metric] for run in runs if metric in run]
        client.log_metric(parent, f"test/{metric}", fmean(values))
        if len(values) > 1:
            client.log_metric(parent, f"test_deviation/{metric}", stdev(values))
    client.set_terminated(parent)


def _plots(sweep: Sweep, folder: Path) -> None:
    """Optuna's own pictures; one that a study has too little for is left out."""
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as pictures

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
            warnings.simplefilter("ignore")  # they are experimental, and say so
            try:
                draw(sweep.study, **told)
            except (ValueError, RuntimeError):
                continue
            plt.gcf().set_size_inches(9, 5)
            plt.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
            plt.close("all")


def _print(sweep: Sweep, best: FrozenTrial, console: Console) -> None:
    trials = sweep.study.get_trials()
    states = {state: sum(t.state == state for t in trials) for state in TrialState}
    table = Table(title=f"{sweep.spec.name}: {states[TrialState.COMPLETE]} trials", title_justify="left")
    table.add_column("trial", justify="right")
    for name in (*sweep.search.space, *sweep.objectives):
        table.add_column(name)
    complete = sorted(sweep.study.get_trials(states=[TrialState.COMPLETE]), key=lambda trial: trial.values[0])
    if next(iter(sweep.objectives.values())) == "maximize":
        complete.reverse()
    for trial in complete[:10]:
        words = [str(trial.params.get(path, "")) for path in sweep.search.space]
        table.add_row(str(trial.number), *words, *(f"{value:.4f}" for value in trial.values))
    console.show(table)
    console.say(
        f"{states[TrialState.PRUNED]} pruned, {states[TrialState.FAIL]} failed or begun again; "
        f"the best is trial {best.number}"
    )
    runs = seeds(sweep)
    for metric in runs[0] if runs else ():
        values = [run[metric] for run in runs if metric in run]
        spread = f" +- {stdev(values):.4f}" if len(values) > 1 else ""
        console.say(f"  test/{metric:24s} {fmean(values):.4f}{spread} ({len(values)} seeds)")
