"""What a sweep does with its trials, told by a trainer that makes scores up: pruned, failed, out of time."""

from collections import Counter
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

from idc_run.cli import run
from idc_run.console import Console
from idc_run.progress import Progress
from idc_run.spec import load_values
from idc_run.sweeps import finish, study, work
from idc_run.training.experiment import Result

pytestmark = pytest.mark.filterwarnings("ignore:::optuna", "ignore:::matplotlib")
QUIET = Console(quiet=True)


class Trainer:
    """In the place of training: every epoch of a run has the score that its spec gets; a run may fail."""

    def __init__(self, score, folder):
        self._score, self._folder, self.runs = score, folder, 0

    def __call__(self, spec, console, role):
        """Run one experiment."""
        role.unfinished(spec, console.say)
        self.runs += 1
        role.begun(f"run-{self.runs}")
        progress, score = Progress(), self._score(spec)
        for epoch in range(1, spec.train.epochs + 1):
            progress.epoch, progress.best_epoch, progress.best = epoch, 1, score
            progress.scores.append([epoch, score])
            role.epoch(progress, {f"val/{spec.eval.select}": score})
        return Result(f"run-{self.runs}", self._folder, score, {spec.eval.select: score} if role.tests else {})


@pytest.fixture
def search(tiny, tmp_path, monkeypatch):
    """Opens the tiny spec with a sweep section; the trainer scores its runs."""
    (tmp_path / "mlruns").mkdir()

    def opened(section, score, *overrides):
        monkeypatch.setattr(work.experiment, "run", Trainer(score, tmp_path))
        return study.open_sweep(load_values(tiny, [f"sweep={section}", "train.epochs=1", *overrides]))

    return opened


def done(opened):
    work.work(opened, QUIET)
    finish.finish(opened, QUIET)
    return opened


def states(opened):
    return Counter(trial.state.name for trial in opened.study.get_trials())


def items(opened, *wanted):
    """The items whose attempts are in one of these states, in the order of the trials."""
    return [trial.user_attrs["item"] for trial in opened.study.get_trials() if trial.state.name in wanted]


def test_a_trial_that_promises_little_is_pruned(search):
    rates = "{train.optimizer.lr: [0.02, 0.021, 0.022, 0.023, 1e-9]}"
    section = f"{{space: {rates}, sampler: grid, seeds: 1}}"
    opened = done(search(section, lambda spec: spec.train.optimizer.lr, "train.epochs=3"))
    assert states(opened) == {"COMPLETE": 5, "PRUNED": 1}  # the best one again among them
    (pruned,) = (trial for trial in opened.searched() if trial.state == TrialState.PRUNED)
    assert pruned.params["train.optimizer.lr"] == 1e-9 and list(pruned.intermediate_values) == [1, 2]
    assert opened.best().params["train.optimizer.lr"] == 0.023
    assert items(opened, "COMPLETE")[-1] == f"again {opened.best().number}, seed 0"


def test_a_search_whose_time_is_up_ends_and_goes_on_when_asked_again(search, monkeypatch):
    section = "{space: {seed: [1, 2, 3]}, sampler: random, trials: 3, seeds: 1, timeout: 50}"
    opened = search(section, lambda spec: 0.5)

    def clock():
        """A trial takes a hundred seconds."""
        return 100.0 * sum(trial.state.is_finished() for trial in opened.study.get_trials())

    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=clock, sleep=lambda seconds: None, time=lambda: 0.0))
    done(opened)
    assert items(opened, "COMPLETE") == [0, "again 0, seed 0"]
    again = done(study.open_sweep(opened.values))
    assert items(again, "COMPLETE")[:3] == [0, "again 0, seed 0", 1]


def refusing(spec):
    """The score of a run, if its batches are small enough."""
    if spec.data.batch_size > 16:
        raise ValueError("make batch_size smaller")
    return 0.5


def test_a_trial_that_fails_is_recorded_with_its_cause_and_the_others_go_on(search):
    opened = done(search("{space: {data.batch_size: [4, 17]}, sampler: grid, seeds: 1}", refusing))
    assert states(opened) == {"COMPLETE": 2, "FAIL": 1}
    (failed,) = opened.study.get_trials(states=[TrialState.FAIL])
    assert failed.user_attrs["cause"] == "ValueError: make batch_size smaller"
    opened = search("{space: {data.batch_size: [17]}, sampler: grid}", refusing)
    with pytest.raises(ValueError, match="no trial.*batch_size.*--resume"):
        done(opened)


def test_a_cause_that_is_gone_is_tried_again_when_asked(search):
    broken = [OSError("the disk is full")]

    def score(spec):
        if broken:
            raise broken.pop()
        return 0.5

    opened = done(search("{space: {seed: [1, 2]}, sampler: grid, seeds: 0}", score))
    assert items(opened, "FAIL") == [0] and items(opened, "COMPLETE") == [1]
    assert items(done(study.open_sweep(opened.values)), "COMPLETE") == [1], "it is not tried again by itself"
    assert items(done(study.open_sweep(opened.values, again=True)), "COMPLETE") == [1, 0]


def test_torchrun_and_check_look_at_the_sweep(tiny, monkeypatch):
    section = "sweep={space: {model.decoder: [gru, {name: lstm, dimm: 3}]}}"
    told = CliRunner().invoke(run, [str(tiny), "-s", section, "--check"])
    assert told.exit_code == 2 and "model.decoder=lstm" in told.stderr and "dimm" in told.stderr
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = CliRunner().invoke(run, [str(tiny), "-s", "sweep={space: {seed: [1, 2]}}"])
    assert told.exit_code == 2 and "torchrun" in told.stderr
