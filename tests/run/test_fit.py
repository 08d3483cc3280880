import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_data.tokenizers.words import Words
from idc_models.spec import build_captioner

from idc_run.checkpoint import load_checkpoint
from idc_run.cli import run
from idc_run.spec import ScheduledSamplingSpec, ScheduleSpec
from idc_run.training.average import Average
from idc_run.training.data import open_data
from idc_run.training.fit import fit
from idc_run.training.optim import Schedule
from idc_run.training.predict import predict
from idc_run.training.scoring import validate
from idc_run.training.stopping import Stop, Stopped, stopping
from idc_run.training.unfinished import kept, remove_kept

CPU = torch.device("cpu")
LONG = [
    "data.dataset.train_pairs=160",
    "train.epochs=3",
    "train.checkpoint_every=3",
    "train.optimizer={name: muon, lr: 5e-3}",
]


class EightPairs:
    """A reader of eight fixed pairs with one reference each."""

    endless = False
    fingerprint = "8"

    def __init__(self):
        scenes = open_reader({"name": "scenes", "val_pairs": 8}, "val", image_size=32)
        self._examples = [replace(example, references=example.references[:1]) for example in scenes]

    def __len__(self):
        return len(self._examples)

    def __getitem__(self, index, /):
        return self._examples[index]


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self):
        self.losses, self.epochs = [], []

    def step(self, progress, losses):
        if losses:
            self.losses.append(losses["train/loss"])

    def epoch(self, progress, scores):
        self.epochs.append(progress.epoch)


@pytest.fixture
def trained(tmp_path, spec):
    """Trains on fixed pairs, with given validation scores (and losses); gives the progress, the notes and the model."""

    def train(*overrides, scores=(), resume=None, stop=None):
        chosen = spec(*overrides)
        reader = EightPairs()
        tokenizer = Words.train([reader[index].references[0] for index in range(8)], max_length=40)
        torch.manual_seed(0)
        model = build_captioner(chosen.model, tokenizer, chosen.train.objectives)
        notes, told = Notes(), iter(scores)
        fitted = fit(
            model,
            reader,
            tokenizer,
            chosen,
            device=CPU,
            folder=tmp_path,
            validate=lambda: named(next(told, 0.0)),
            watcher=notes,
            resume=resume,
            stop=stop,
        )
        assert fitted.best == fitted.progress.best and fitted.checkpoint.is_file()
        return fitted.progress, notes, (model, reader, tokenizer, chosen)

    return train


def named(score):
    """A score, or a score and a loss, as validation gives them."""
    return dict(zip(("val/cider", "val/loss"), score if isinstance(score, tuple) else (score,), strict=False))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Runs the long spec once, without a break."""
    runs = {}

    def go(spec_file):
        if not runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("uninterrupted"))
                runs["printed"] = started(spec_file)
                runs["best"] = load_checkpoint(*Path().glob("mlruns/checkpoints/*/*/best.safetensors"))
        return runs["best"], runs["printed"]

    return go


def started(spec_file, *more):
    """Run the command on the long spec; give what it prints of validation, without speeds, and the final table."""
    ended = CliRunner().invoke(run, [str(spec_file), *overriding(LONG), *more])
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    # epoch, number, loss (of what was trained since the break), val/loss, rate, pairs a second, score, in, seconds, s
    epochs = [[*line.split()[1:2], *line.split()[3:5], *line.split()[6:7]] for line in lines if line[:6] == "epoch "]
    return [*epochs, *(line for line in lines if "│" in line)]


def overriding(overrides):
    return [part for override in overrides for part in ("-s", override)]


def kill(folder, command, after):
    """Start a run, and kill -9 it once a checkpoint of a step beyond `after` is there."""
    process = subprocess.Popen([sys.executable, "-m", "idc_run", *command], cwd=folder, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    progress = {"step": 0}
    while progress["step"] <= after:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
        for path in folder.glob("mlruns/checkpoints/*/*/last.safetensors"):
            progress = load_checkpoint(path).progress
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def curves(progress):
    """Split the progress into the steps of the loss curve and the rest, without the name of the run."""
    return [step for step, _ in progress["losses"]], {**progress, "losses": [], "run_id": ""}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_kill_and_resume_is_bit_identical(tiny, uninterrupted, workers):
    best, printed = uninterrupted(tiny)
    more = overriding([f"data.workers={workers}"])
    kill(tiny.parent, [tiny.name, *overriding(LONG), *more], after=5)
    (last,) = Path().glob("mlruns/checkpoints/*/*/last.safetensors")
    stopped = load_checkpoint(last).progress
    assert 5 < stopped["step"] == stopped["batch"] < 40, "killed in the first epoch, so every best one is of later"

    went_on = started(tiny, *more, "--resume")
    resumed = load_checkpoint(last.with_name("best.safetensors"))
    assert not last.exists()
    assert resumed.weights.keys() == best.weights.keys()
    for name, value in best.weights.items():
        assert torch.equal(resumed.weights[name], value), name
    # The first mean loss after the break is over fewer steps than without one.
    (points, went), (all_points, expected) = curves(resumed.progress), curves(best.progress)
    assert went == expected and points == all_points
    # The validation scores of every epoch, which tell of the weights then, and the test scores.
    assert went_on == printed and len(went_on) > 6


def statuses():
    """How the runs of the store ended."""
    with closing(sqlite3.connect("mlruns/mlflow.db")) as store:
        return [status for (status,) in store.execute("select status from runs")]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_ends_the_run_and_resume_is_bit_identical(tiny, uninterrupted, how):
    best, _ = uninterrupted(tiny)
    more = overriding(["data.workers=1", "train.checkpoint_every=1000", "tracking=mlflow"])
    command = [sys.executable, "-m", "idc_run", tiny.name, *overriding(LONG), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        deadline = time.monotonic() + 600
        while not list(Path().glob("mlruns/checkpoints/*/*/last.safetensors")):  # written after the first epoch
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)  # Ctrl-C reaches the workers too
        said = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 128 + how, said
    assert "--resume" in said and "Traceback" not in said
    assert statuses() == ["KILLED"]
    (last,) = Path().glob("mlruns/checkpoints/*/*/last.safetensors")
    assert load_checkpoint(last).progress["step"] < 120

    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL, timeout=600)
    resumed = load_checkpoint(last.with_name("best.safetensors"))
    assert all(torch.equal(resumed.weights[name], value) for name, value in best.weights.items())
    assert not list(last.parent.glob("last*"))
    assert statuses() == ["FINISHED"]


@pytest.mark.slow
def test_two_processes_train_together_and_the_first_one_writes(tiny):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "idc_run"]
    ended = subprocess.run([*launch, tiny.name, *overriding(LONG)], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch   3") == 1
    (best,) = Path().glob("mlruns/checkpoints/*/*/best.safetensors")
    progress = load_checkpoint(best).progress
    assert progress["step"] == progress["epoch"] * 160 // (2 * 4), "every pair is seen by one of the two"


@pytest.mark.slow
def test_two_processes_keep_averaged_weights_and_train_as_without(tiny):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "idc_run"]
    held = []
    for name, ema in (("plain", "null"), ("averaged", "0.9")):
        settings = (
            f"name={name}",
            f"train.ema={ema}",
            "train.epochs=2",
            "train.early_stopping=null",
            "eval.metrics=[cider]",
        )
        ended = subprocess.run([*launch, tiny.name, *overriding(settings)], capture_output=True, text=True, timeout=900)
        assert ended.returncode == 0, ended.stderr
        (best,) = Path().glob(f"mlruns/checkpoints/{name}-*/*/best.safetensors")
        held.append(load_checkpoint(best))
    plain, averaged = held
    ours, theirs = (dict(each.progress["losses"]) for each in held)
    shared = sorted(ours.keys() & theirs.keys())
    assert shared and [ours[step] for step in shared] == pytest.approx([theirs[step] for step in shared], rel=1e-5)
    trained = [name for name, _ in averaged.build().named_parameters()]
    assert not any(
        torch.equal(plain.weights[name], averaged.weights[name]) for name in trained if name.endswith("weight")
    )


def test_a_signal_in_a_step_is_answered_after_it_with_a_checkpoint(tmp_path, trained):
    stop = Stop()
    with stop.after():
        stop(signal.SIGTERM, None)  # as if it came in the first step
        with pytest.raises(Stopped) as again:
            stop(signal.SIGTERM, None)
    assert again.value.code == 128 + signal.SIGTERM
    with pytest.raises(Stopped, match="SIGTERM"):
        trained("train.checkpoint_every=1000", stop=stop)
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert last.progress["step"] == last.progress["batch"] == 1 and last.training


def test_a_signal_outside_of_steps_stops_at_once_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stopping():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stopping() as stop, stop.after():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("another process of torchrun has gone")
    assert signal.getsignal(signal.SIGTERM) is before


def test_older_checkpoints_stay_beside_the_newest(tmp_path, trained):
    trained("train.epochs=4", "train.keep_last=3", "train.early_stopping=null")
    names = [path.name for path in kept(tmp_path)]
    assert names == ["last.safetensors", "last.1.safetensors", "last.2.safetensors"]
    assert [load_checkpoint(tmp_path / name).progress["epoch"] for name in names] == [4, 3, 2]
    remove_kept(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["best.safetensors"]


def test_early_stopping_stops_and_the_best_stays(tmp_path, trained):
    stopping = ("train.epochs=9", "train.early_stopping.patience=2")
    progress, notes, _ = trained(*stopping, scores=[0.1, 0.3, 0.2, 0.3, 0.9])
    assert notes.epochs == [1, 2, 3, 4] and (progress.best, progress.best_epoch) == (0.3, 2)
    assert load_checkpoint(tmp_path / "best.safetensors").progress["epoch"] == 2
    # Killed after the last epoch, before the test: there is nothing more to train.
    again, notes, _ = trained(*stopping, scores=[0.9], resume=load_checkpoint(tmp_path / "last.safetensors"))
    assert notes.epochs == [] and again == progress


def test_of_epochs_with_one_score_the_one_with_the_lowest_loss_stays_and_patience_does_not_mind(tmp_path, trained):
    told = [(0.3, 1.0), (0.3, 0.5), (0.3, 0.7), (0.9, 0.1)]
    progress, notes, _ = trained("train.epochs=9", "train.early_stopping.patience=2", scores=told)
    assert notes.epochs == [1, 2, 3], "the score rose in the first epoch only"
    assert (progress.best, progress.best_epoch, progress.best_loss) == (0.3, 2, 0.5)
    assert load_checkpoint(tmp_path / "best.safetensors").progress["epoch"] == 2
    assert [loss for _, loss in progress.val_losses] == [1.0, 0.5, 0.7]


def test_a_checkpoint_from_before_ties_were_broken_goes_on(tmp_path, trained):
    stopping = ("train.epochs=9", "train.early_stopping.patience=2")
    trained(*stopping, scores=[0.3, 0.1, 0.2])
    last = load_checkpoint(tmp_path / "last.safetensors")
    for new in ("risen_epoch", "best_loss", "val_losses"):
        del last.progress[new]
    last.progress["epoch"], last.progress["best_epoch"] = 2, 1
    _, notes, _ = trained(*stopping, scores=[0.3], resume=last)
    assert notes.epochs == [3]


def test_validation_takes_no_random_number_from_training_and_leaves_the_model_as_it_was(spec):
    chosen = spec()
    data = open_data(chosen)
    model = build_captioner(chosen.model, data.tokenizer, chosen.train.objectives).train()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    scores = validate(chosen, data, model, CPU)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert scores["val/loss"] == validate(chosen, data, model, CPU)["val/loss"] > 1


def test_without_early_stopping_every_epoch_runs(trained):
    _, notes, _ = trained("train.epochs=7", "train.early_stopping=null", scores=[1.0])
    assert notes.epochs == [1, 2, 3, 4, 5, 6, 7]


AVERAGED = (
    *("train.ema=0.9", "train.schedule={name: constant, warmup_steps: 0}", "train.early_stopping=null"),
    "train.scheduled_sampling={increase: 0.2, every_epochs: 1, most: 0.3}",
)


def test_averaged_weights_are_kept_and_the_run_goes_on_from_its_own_bit_for_bit(tmp_path, trained):
    _, _, (model, *_) = trained(*AVERAGED, "train.epochs=3", scores=[0.1, 0.2, 0.3])
    best, last = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("best", "last"))
    name = "decoder.output.weight"
    assert torch.equal(best.weights[name], last.training[f"average/{name}"])
    assert not torch.equal(best.weights[name], last.weights[name])
    assert torch.equal(model.state_dict()[name], last.weights[name])
    trained(*AVERAGED, "train.epochs=2", scores=[0.1, 0.2])
    stopped = load_checkpoint(tmp_path / "last.safetensors")
    trained(*AVERAGED, "train.epochs=3", scores=[0.3], resume=stopped)
    again = load_checkpoint(tmp_path / "best.safetensors")
    assert again.weights.keys() == best.weights.keys()
    assert all(torch.equal(value, best.weights[name]) for name, value in again.weights.items())


def test_an_average_follows_the_weights_and_gives_them_back():
    model = torch.nn.Linear(2, 1)
    average, first = Average(model, 0.5), model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(step=9)
    with average.inside():
        torch.testing.assert_close(model.weight, first + 0.5)
    torch.testing.assert_close(model.weight, first + 1)
    assert not Average(model, None).state()


def test_a_run_without_an_average_keeps_no_trace_of_one(tmp_path, trained):
    trained("train.epochs=1", scores=[0.1])
    last, best = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("last", "best"))
    assert all(torch.equal(value, best.weights[name]) for name, value in last.weights.items())
    assert all(name.startswith("optimizer/") for name in last.training)


def test_the_share_of_drawn_words_rises_in_steps_to_its_most():
    shares = [ScheduledSamplingSpec().share(epoch) for epoch in (0, 4, 5, 14, 24, 25, 90)]
    assert shares == pytest.approx([0, 0, 0.05, 0.1, 0.2, 0.25, 0.25])


def rates(epochs=4, **settings):
    """Learning rates at each of 10 steps per epoch, when no epoch is better than the first."""
    schedule = Schedule(ScheduleSpec(**settings), 1.0, 10, epochs)
    found = []
    for epoch in range(epochs):
        found += [schedule.rate(epoch * 10 + step) for step in range(10)]
        schedule.end_epoch(better=epoch == 0)
    return found


def test_every_schedule_begins_with_a_linear_warm_up():
    for name in ("cosine", "step", "plateau", "constant"):
        assert rates(name=name, warmup_steps=4)[:4] == [0.25, 0.5, 0.75, 1.0]
        assert rates(name=name, warmup_steps=0)[0] == 1.0


def test_cosine_falls_to_zero():
    found = rates(name="cosine", warmup_steps=4)
    assert found[4] == 1.0 and found[22] == pytest.approx(0.5) and 0 < found[-1] < 0.01
    assert found[4:] == sorted(found[4:], reverse=True)


def test_step_multiplies_after_so_many_epochs():
    found = rates(name="step", warmup_steps=0, factor=0.5, every_epochs=2)
    assert found == [1.0] * 20 + [0.5] * 20


def test_plateau_multiplies_when_no_epoch_is_better():
    found = rates(name="plateau", warmup_steps=0, factor=0.5, patience=1, epochs=4)
    assert found == [1.0] * 20 + [0.5] * 10 + [0.25] * 10
    assert rates(name="plateau", warmup_steps=0, factor=0.5, patience=3) == [1.0] * 40


def test_constant_stays():
    assert rates(name="constant", warmup_steps=0) == [1.0] * 40


def test_a_schedule_goes_on_where_it_stopped():
    settings = ScheduleSpec(name="plateau", warmup_steps=0, factor=0.5, patience=2)
    first, second = Schedule(settings, 1.0, 10, 9), Schedule(settings, 1.0, 10, 9)
    for better in (True, False, False, False):
        first.end_epoch(better=better)
    second.restore(first.state())
    first.end_epoch(better=False)
    second.end_epoch(better=False)
    assert first.rate(50) == second.rate(50) == 0.25


def test_a_loss_that_is_no_number_says_what_to_do(trained):
    with pytest.raises(ValueError, match=r"(nan|inf).*train\.optimizer\.lr.*1e\+30"):
        trained("train.optimizer.lr=1e30", "train.schedule.warmup_steps=0", "train.epochs=20")


def test_a_tiny_model_learns_eight_pairs_by_heart(trained):
    overrides = ("model.encoder.widths=[16, 32]", "model.fusion.dim=32", "model.decoder.dim=32")
    _, notes, (model, reader, tokenizer, chosen) = trained(
        *overrides, "model.decoder.dropout=0", "data.batch_size=8", "train.epochs=60", "train.early_stopping=null"
    )
    assert notes.losses[0] > 1 and notes.losses[-1] < 0.1
    said = predict(model, reader, tokenizer, chosen.data, chosen.eval, CPU)
    assert [each.hypothesis for each in said] == [each.references[0] for each in said]
