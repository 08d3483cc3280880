"""Sweeps with real training, a real study and a real MLflow store; one with a real kill -9."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

from idc_run import sweep, sweep_end
from idc_run.cli import table
from idc_run.console import Console
from idc_run.spec import load_values
from idc_run.table import read_table
from idc_run.track import connect

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow", "ignore:::optuna", "ignore:::matplotlib")]
QUIET = Console(quiet=True)


@pytest.fixture
def search(tiny):
    """Opens the tiny spec with a sweep section."""
    (tiny.parent / "mlruns").mkdir()

    def opened(section, *overrides):
        values = load_values(tiny, [f"sweep={section}", *overrides])
        return sweep.open_sweep(values)

    return opened


def states(opened):
    return Counter(trial.state.name for trial in opened.study.get_trials())


def test_a_sweep_prunes_trains_the_best_again_and_is_tracked(search):
    space = "{train.optimizer.lr: {low: 1e-4, high: 1e-1, log: true}, model.decoder: [gru, lstm]}"
    section = f"{{space: {space}, trials: 5, seeds: 2}}"
    opened = search(section, "tracking=mlflow", "register=idc", "eval.metrics=[rouge-l]", "eval.select=rouge-l")
    sweep.work(opened, QUIET)
    sweep_end.finish(opened, QUIET)
    found = states(opened)
    assert found["COMPLETE"] >= 1 and found["COMPLETE"] + found["PRUNED"] == 5 and not found["FAIL"]
    mlflow = connect()
    runs = {run.info.run_id: run for run in mlflow.search_runs(experiment_names=["tiny"], output_format="list")}
    parent = runs.pop(opened.study.user_attrs["run"])
    assert parent.info.status == "FINISHED"
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    assert Counter(run.data.tags["trial"].startswith("best") for run in runs.values()) == {False: 5, True: 2}
    ends = Counter(run.info.status for run in runs.values())
    assert ends["KILLED"] == found["PRUNED"] and ends["FINISHED"] == 7 - found["PRUNED"]
    # Only the best is tested, by its seeds, and their mean stands at the parent.
    tested = [run.data.metrics["test/rouge-l"] for run in runs.values() if "test/rouge-l" in run.data.metrics]
    assert len(tested) == 2 and parent.data.metrics["test/rouge-l"] == pytest.approx(sum(tested) / 2)
    kept = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"trials.csv", "history.png", "parallel.png"} <= kept
    assert len(mlflow.MlflowClient().search_model_versions("name='idc'")) == 2
    # Typed again, the command does nothing more.
    again = sweep.open_sweep(opened.values)
    sweep.work(again, QUIET)
    sweep_end.finish(again, QUIET)
    assert len(again.study.get_trials()) == 5
    assert len(mlflow.search_runs(experiment_names=["tiny"], output_format="list")) == 8


def test_a_grid_is_run_whole_tested_and_made_a_table(search, tmp_path):
    section = "{space: {seed: [1, 2], model.fusion: [concat, difference]}, sampler: grid, seeds: 0}"
    opened = search(section, "train.epochs=1", "tracking=mlflow", "eval.metrics=[rouge-l]", "eval.select=rouge-l")
    sweep.work(opened, QUIET)
    sweep_end.finish(opened, QUIET)
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
    opened = search(section, "train.epochs=1")
    sweep.work(opened, QUIET)
    sweep_end.finish(opened, QUIET)
    assert all(len(t.values) == 2 and t.values[1] > 0 for t in opened.study.get_trials())
    assert 1 <= len(opened.study.best_trials) <= 2


def test_a_trial_that_fails_is_recorded_with_its_cause_and_the_others_go_on(search):
    opened = search("{space: {data.batch_size: [4, 17]}, sampler: grid, seeds: 1}", "train.epochs=1")
    sweep.work(opened, QUIET)
    sweep_end.finish(opened, QUIET)
    assert states(opened) == {"COMPLETE": 1, "FAIL": 1}
    (failed,) = opened.study.get_trials(states=[TrialState.FAIL])
    assert "make batch_size smaller" in failed.user_attrs["cause"]
    opened = search("{space: {data.batch_size: [17]}, sampler: grid}", "train.epochs=1")
    sweep.work(opened, QUIET)
    with pytest.raises(ValueError, match="no trial of the sweep came to its end.*make batch_size smaller"):
        sweep_end.finish(opened, QUIET)


def test_a_misspelt_path_is_found_before_anything_is_trained(search):
    with pytest.raises(ValueError, match="sweep.space.model.decoder.layer: .*layer"):
        search("{space: {model.decoder.layer: [1, 2]}}")
    with pytest.raises(ValueError, match="sweep.objectives has 'meteor', which validation does not compute"):
        search("{space: {seed: [1, 2]}, objectives: {meteor: maximize}}")


def test_two_processes_share_a_study_and_one_is_killed(tiny):
    (tiny.parent / "mlruns").mkdir()
    section = "{space: {train.optimizer.lr: {low: 1e-3, high: 1e-1, log: true}}, sampler: random, trials: 4, seeds: 0}"
    options = ["train.epochs=4", "train.checkpoint_every=2", "data.dataset.train_pairs=64", "tracking=mlflow"]
    overrides = [f"sweep={section}", *options]
    opened = sweep.open_sweep(load_values(tiny, overrides))  # the study exists: both join it
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
        assert second.wait(timeout=300) == 0, second.stderr.read().decode()
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
    assert sorted(t.user_attrs["queued"] for t in trials if t.state == TrialState.COMPLETE) == [0, 1, 2, 3]
    # It went on in the same run from the checkpoint that was left.
    assert retry.user_attrs["run"] == killed.user_attrs["run"] == retry.user_attrs["goes_on"]
    runs = connect().search_runs(experiment_names=["tiny"], output_format="list")
    assert Counter(run.info.status for run in runs) == {"FINISHED": 5}
    optuna.logging.set_verbosity(optuna.logging.INFO)
