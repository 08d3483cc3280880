"""The training loop: one function in plain PyTorch, for a single process and for torchrun."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from idc_data.example import Reader
from idc_data.loader import batches_per_epoch, train_batches
from idc_data.tokenizers import Tokenizer
from idc_models.captioner import Captioner
from idc_models.frozen import without_frozen
from torch.nn.parallel import DistributedDataParallel

from idc_run.checkpoint import Checkpoint, restore_training, save_checkpoint, training_state
from idc_run.progress import Progress
from idc_run.spec import EarlyStoppingSpec, Spec
from idc_run.training.average import Average
from idc_run.training.losses import Losses
from idc_run.training.optim import Schedule, build_optimizer
from idc_run.training.processes import rank, world
from idc_run.training.stopping import Stop, Stopped
from idc_run.training.unfinished import BEST, LAST, make_room


@runtime_checkable
class Watcher(Protocol):
    """Receives the progress of training, for the tracker and the progress bar."""

    def step(self, progress: Progress, losses: dict[str, float] | None) -> None:
        """Handle a completed step; `losses` are the means since the last report, None between reports."""

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Handle a validated epoch; `scores` hold the validation scores and the measurements of `fit`."""


@dataclass(frozen=True)
class Fitted:
    """The result of training.

    Attributes:
        checkpoint: The best checkpoint.
        best: Its validation score.
        progress: The final state.
    """

    checkpoint: Path
    best: float
    progress: Progress


def fit(
    model: Captioner,
    reader: Reader,
    tokenizer: Tokenizer,
    spec: Spec,
    *,
    device: torch.device,
    folder: Path,
    validate: Callable[[], dict[str, float]],
    watcher: Watcher,
    stop: Stop | None = None,
    resume: Checkpoint | None = None,
    run_id: str = "",
    unchanged: tuple[str, ...] = (),
) -> Fitted:
    """Train the model and leave the best and the last checkpoint in `folder`.

    Args:
        model: The model, on `device`.
        reader: The training split.
        tokenizer: The tokenizer of the model.
        spec: The experiment.
        device: The device to train on.
        folder: Folder for `last.safetensors`, to resume from, and `best.safetensors`.
        validate: Returns the validation scores and loss of the current model, with prefix `val/`; called after every
            epoch, on the first process.
        watcher: Receives steps and epochs, on the first process only.
        stop: Receives signals; once asked to stop, the first process saves a checkpoint after the current step and
            stops.
        resume: A `last.safetensors` to resume from.
        run_id: Stored in the checkpoints.
        unchanged: Stored in the checkpoints.

    Returns:
        The result of training, on every process.

    Raises:
        ValueError: The loss is no longer finite.
        Stopped: A signal asked for it.
    """
    stop = stop or Stop()
    train, first = spec.train, rank() == 0
    num = batches_per_epoch(reader, spec.data, world=world())
    optimizer = build_optimizer(model, train.optimizer)
    schedule = Schedule(train.schedule, train.optimizer.lr, num, train.epochs)
    average = Average(model, train.ema)
    progress = Progress(run_id=run_id)
    if resume:
        # Older files lack `risen_epoch`; they did not break ties, so it equals the best epoch.
        progress = Progress(**{"risen_epoch": resume.progress["best_epoch"], **resume.progress})
        model.load_weights(resume.weights, resume.frozen)
        restore_training(optimizer, resume.training)
        average.restore(resume.training)
        schedule.restore(progress.schedule)

    def save(name: str, training: bool) -> None:
        progress.schedule = schedule.state()
        state = training_state(optimizer) | average.state() if training else {}
        weights, frozen = without_frozen(model.state_dict(), model.frozen)
        kept = Checkpoint(spec, tokenizer, weights, vars(progress), state, unchanged, frozen=frozen)
        if name == LAST:
            make_room(folder, train.keep_last)
        save_checkpoint(folder / name, kept)

    batches = train_batches(
        reader,
        tokenizer,
        spec.data,
        seed=spec.seed,
        epoch=progress.epoch,
        skip=progress.batch,
        rank=rank(),
        world=world(),
    )
    wrapped = DistributedDataParallel(model) if world() > 1 else model
    losses, whole = Losses(device), Losses(device)
    model.train()
    while progress.epoch < train.epochs and not _out_of_patience(progress, train.early_stopping):
        began, began_at = time.perf_counter(), progress.batch
        model.drawn = train.scheduled_sampling.share(progress.epoch) if train.scheduled_sampling else 0.0
        while progress.batch < num:
            # One seed per step and process, so that a resumed run draws the same numbers.
            torch.manual_seed(Random(f"step/{spec.seed}/{progress.step}/{rank()}").getrandbits(63))
            with stop.after():
                rate = schedule.rate(progress.step)
                _train_step(wrapped, next(batches).to(device), optimizer, rate, spec, losses, whole)
                average.update(progress.step)
                progress.step, progress.batch = progress.step + 1, progress.batch + 1
                reported = losses.report() if progress.step % train.log_every == 0 else None
                if reported:
                    progress.losses.append([progress.step, reported["train/loss"]])
                if first:
                    watcher.step(progress, reported)
                    if progress.step % train.checkpoint_every == 0 or stop.asked:
                        save(LAST, training=True)
            if first and stop.asked:
                raise Stopped(stop.asked)
        done, trained = progress.batch - began_at, time.perf_counter()
        measured = {"train/lr": schedule.rate(progress.step - 1)}
        if done:
            measured["train/epoch_loss"] = whole.report()["train/loss"]
            measured["train/pairs_per_second"] = done * spec.data.batch_size * world() / (trained - began)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        with average.inside():
            scores = _from_first(validate)
        measured["val/seconds"] = time.perf_counter() - trained
        rose, best = _judge(progress, scores[f"val/{spec.eval.select}"], scores.get("val/loss"))
        schedule.end_epoch(better=rose)
        if first:
            watcher.epoch(progress, scores | measured)
            # Save the best first: if killed in between, the resumed run repeats the epoch and writes the same file.
            if best:
                with average.inside():
                    save(BEST, training=False)
            save(LAST, training=True)
    assert progress.best is not None, "there is at least one epoch, and each is validated"
    return Fitted(folder / BEST, progress.best, progress)


def _judge(progress: Progress, score: float, loss: float | None) -> tuple[bool, bool]:
    """Record the scores of an epoch; return whether the score rose, and whether this is the best checkpoint so far.

    Among epochs with equal scores, the one with the lowest loss is best; patience and schedule use only the score.
    """
    progress.scores.append([progress.step, score])
    if loss is not None:
        progress.val_losses.append([progress.step, loss])
    rose = progress.best is None or score > progress.best
    lower = loss is not None and progress.best_loss is not None and loss < progress.best_loss
    best = rose or (score == progress.best and lower)
    if rose:
        progress.risen_epoch = progress.epoch
    if best:
        progress.best, progress.best_epoch, progress.best_loss = score, progress.epoch, loss
    return rose, best


def _out_of_patience(progress: Progress, spec: EarlyStoppingSpec | None) -> bool:
    return spec is not None and progress.epoch - progress.risen_epoch >= spec.patience


def _train_step(
    model: torch.nn.Module, batch: Any, optimizer: torch.optim.Optimizer, rate: float, spec: Spec, *losses: Losses
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    device = batch.before.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda" and spec.train.amp == "auto"):
        parts = model(batch)
    if not torch.isfinite(parts["loss"]):
        raise ValueError(
            f"the training loss became {parts['loss'].item()}: lower train.optimizer.lr "
            f"(now {spec.train.optimizer.lr}) or lengthen train.schedule.warmup_steps"
        )
    optimizer.zero_grad(set_to_none=True)
    parts["loss"].backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), spec.train.optimizer.clip_norm)
    optimizer.step()
    for means in losses:
        means.update(parts)


def _from_first(validate: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the scores, computed on the first process and broadcast to the others."""
    told = [validate() if rank() == 0 else {}]
    if world() > 1:
        dist.broadcast_object_list(told)
    return told[0]
