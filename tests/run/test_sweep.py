"""Sweeps with real training, a real study and a real MLflow store; one with a real kill -9."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

from idc_run.cli import table
from idc_run.console import Console
from idc_run.spec import load_values
from idc_run.sweeps import finish, study, work
from idc_run.sweeps.table import read_table
from idc_run.tracking.mlflow_tracker import MlflowTracker
from idc_run.tracking.store import connect

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow", "ignore:::optuna", "ignore:::matplotlib")]
QUIET = Console(quiet=True)


@pytest.fixture
def search(tiny):
    """Opens the tiny spec with a sweep section."""
    (tiny.parent / "mlruns").mkdir()

    def opened(section, *overrides):
        values = load_values(tiny, [f"sweep={section}", *overrides])
        return study.open_sweep(values)

    return opened


def states(opened):
    return Counter(trial.state.name for trial in opened.study.get_trials())


def done(opened):
    work.work(opened, QUIET)
    finish.finish(opened, QUIET)
    return opened


def items(opened, *wanted):
    """The items whose attempts are in one of these states, in the order of the trials."""
    return [trial.user_attrs["item"] for trial in opened.study.get_trials() if trial.state.name in wanted]


def test_a_sweep_trains_the_best_again_and_is_tracked(search):
    space = "{train.optimizer.lr: {low: 1e-4, high: 1e-1, log: true}, model.decoder: [gru, lstm]}"
    section = f"{{space: {space}, trials: 3, seeds: 2, pruner: none}}"
    options = ["tracking=mlflow", "register=idc", "eval.metrics=[rouge-l]", "eval.select=rouge-l", "train.epochs=1"]
    opened = done(search(section, *options))
    best = opened.best()
    assert items(opened, "COMPLETE") == [0, 1, 2, *(f"again {best.number}, seed {seed}" for seed in (0, 1))]
    assert all(t.params == best.params for t in opened.study.get_trials()[3:])
    mlflow = connect()
    runs = {run.info.run_id: run for run in mlflow.search_runs(experiment_names=["tiny"], output_format="list")}
    parent = runs.pop(opened.study.user_attrs["run"])
    assert parent.info.status == "FINISHED" and parent.data.tags["sweep.planned"] == "3"
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    assert Counter(run.data.tags["trial"].startswith("best") for run in runs.values()) == {False: 3, True: 2}
    # Only the best is tested, by its seeds, and their mean stands at the parent.
    tested = [run.data.metrics["test/rouge-l"] for run in runs.values() if "test/rouge-l" in run.data.metrics]
    assert len(tested) == 2 and parent.data.metrics["test/rouge-l"] == pytest.approx(sum(tested) / 2)
    kept = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"trials.csv", "space.json", "history.png", "importance.png", "parallel.png"} <= kept
    assert len(mlflow.MlflowClient().search_model_versions("name='idc'")) == 2
    # Typed again, the command does nothing more.
    again = done(study.open_sweep(opened.values))
    assert len(again.study.get_trials()) == 5
    assert len(mlflow.search_runs(experiment_names=["tiny"], output_format="list")) == 6


def test_a_trial_that_promises_little_is_pruned(search):
    rates = "{train.optimizer.lr: [0.02, 0.021, 0.022, 0.023, 1e-9]}"
    opened = search(
        f"{{space: {rates}, sampler: grid, seeds: 1}}",
        *("train.epochs=3", "data.dataset.train_pairs=64", "eval.metrics=[rouge-l]", "eval.select=rouge-l"),
        *("train.schedule.warmup_steps=0", "train.early_stopping=null"),
    )
    done(opened)
    assert states(opened) == {"COMPLETE": 5, "PRUNED": 1}  # the best one again among them
    (pruned,) = (trial for trial in opened.searched() if trial.state == TrialState.PRUNED)
    assert pruned.params["train.optimizer.lr"] == 1e-9 and list(pruned.intermediate_values) == [1, 2]
    left = list(Path("mlruns/checkpoints").glob(f"*/{pruned.user_attrs['run']}/*"))
    assert [path.name for path in left] == ["best.safetensors"], "nothing that only a resumption would need"


def test_a_cause_that_is_gone_and_a_tracker_that_broke_cost_one_trial(search, monkeypatch):
    section = "{space: {seed: [1, 2]}, sampler: grid, seeds: 0}"
    opened = search(section, "train.epochs=1", "tracking=mlflow")
    with monkeypatch.context() as patch:
        broken = [OSError("the disk is full")]
        real = MlflowTracker.json
        patch.setattr(
            MlflowTracker, "json", lambda self, documents: raise_(broken.pop()) if broken else real(self, documents)
        )
        done(opened)
    assert items(opened, "FAIL") == [0] and items(opened, "COMPLETE") == [1]
    assert opened.study.get_trials()[0].user_attrs["cause"] == "OSError: the disk is full"
    assert items(done(study.open_sweep(opened.values)), "COMPLETE") == [1], "it is not tried again by itself"
    assert items(done(study.open_sweep(opened.values, again=True)), "COMPLETE") == [1, 0]


def raise_(error):
    raise error


def test_a_grid_is_run_whole_tested_and_made_a_table(search, tmp_path):
    section = "{space: {seed: [1, 2], model.fusion: [concat, difference]}, sampler: grid, seeds: 0}"
    opened = search(section, "train.epochs=1", "tracking=mlflow", "eval.metrics=[rouge-l]", "eval.select=rouge-l")
    done(opened)
    trials = opened.study.get_trials()
    cells = {(t.params["seed"], t.params["model.fusion"]): t.user_attrs["test/rouge-l"] for t in trials}
    assert set(cells) == {(seed, fusion) for seed in (1, 2) for fusion in ("concat", "difference")}
    assert all(t.state == TrialState.COMPLETE for t in trials) and len(trials) == 4

    ended = CliRunner().invoke(table, ["tiny", "--out", str(tmp_path / "results")])
    assert ended.exit_code == 0, ended.output
    found = read_table("tiny")
    by_name = {cell.name: cell for cell in found.cells}
    assert found.runs == 4 and by_name["concat"].seeds == [1, 2]
    for fusion, cell in by_name.items():
        assert cell.values["rouge-l"] == pytest.approx([cells[1, fusion], cells[2, fusion]])
        mean = 50 * (cells[1, fusion] + cells[2, fusion])
        assert f"| {fusion} | 2 | " in ended.output and f"{mean:.1f} +- " in ended.output
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"tiny.md", "tiny.csv", "tiny.png"}
    assert len((tmp_path / "results/tiny.csv").read_text().splitlines()) == 5
    ended = CliRunner().invoke(table, ["nothing"])
    assert ended.exit_code == 2 and "no tested trials of a sweep 'nothing'" in ended.stderr


def test_several_objectives_have_a_front(search):
    wanted = "{cider: maximize, latency: minimize}"
    section = f"{{space: {{model.decoder: [gru, lstm]}}, sampler: grid, seeds: 1, objectives: {wanted}}}"
    opened = done(search(section, "train.epochs=1", "tracking=mlflow"))
    assert all(len(t.values) == 2 and t.values[1] > 0 for t in opened.study.get_trials())
    kept = {file.path for file in connect().MlflowClient().list_artifacts(opened.study.user_attrs["run"])}
    assert {"pareto.png", "history_cider.png", "history_latency.png"} <= kept
    only = "{space: {model.decoder: [gru, lstm]}, sampler: grid, seeds: 1, objectives: {latency: minimize}}"
    opened = done(search(only, "train.epochs=1"))
    assert opened.best().values[0] == min(trial.values[0] for trial in opened.searched())


def test_two_processes_share_a_study_and_one_is_killed(tiny):
    (tiny.parent / "mlruns").mkdir()
    section = "{space: {train.optimizer.lr: {low: 1e-3, high: 1e-1, log: true}}, sampler: random, trials: 4, seeds: 0}"
    options = ["train.epochs=4", "train.checkpoint_every=2", "data.dataset.train_pairs=64", "tracking=mlflow"]
    overrides = [f"sweep={section}", *options]
    opened = study.open_sweep(load_values(tiny, overrides))  # the study exists: both join it
    command = [sys.executable, "-m", "idc_run", tiny.name, *(part for each in overrides for part in ("-s", each))]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    first, second = (subprocess.Popen(command, cwd=tiny.parent, **quiet) for _ in range(2))
    try:
        victim = None
        for _ in range(600):
            time.sleep(0.2)
            running = [t for t in opened.study.get_trials() if t.state == TrialState.RUNNING and "run" in t.user_attrs]
            left = list((tiny.parent / "mlruns/checkpoints").glob("*/*/last.safetensors"))
            if len(running) == 2 and len(left) == 2:
                victim = first
                os.killpg(first.pid, signal.SIGKILL)
                break
        assert victim is not None, "both were to be seen in the middle of a trial"
        assert second.wait(timeout=900) == 0, second.stderr.read().decode()
    finally:
        for process in (first, second):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    trials = opened.study.get_trials()
    assert states(opened) == {"COMPLETE": 4, "FAIL": 1}
    (retry,) = [t for t in trials if "retry_of" in t.user_attrs]
    (killed,) = [t for t in trials if t.state == TrialState.FAIL]
    assert retry.user_attrs["retry_of"] == killed.number and retry.params == killed.params
    assert sorted(items(opened, "COMPLETE")) == [0, 1, 2, 3]
    # It went on in the same run from the checkpoint that was left.
    assert retry.user_attrs["run"] == killed.user_attrs["run"] == retry.user_attrs["goes_on"]
    runs = connect().search_runs(experiment_names=["tiny"], output_format="list")
    assert Counter(run.info.status for run in runs) == {"FINISHED": 5}
    optuna.logging.set_verbosity(optuna.logging.INFO)
