"""The training loop: one function, plain PyTorch, the same on one process and under torchrun."""

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
    """Who is told how training goes: the tracker and the progress bar stand behind it."""

    def step(self, progress: Progress, losses: dict[str, float] | None) -> None:
        """A step is done; `losses` are the means since the last report, None between reports."""

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """An epoch is done and validated; `scores` are those of validation and what `fit` measured itself."""


@dataclass(frozen=True)
class Fitted:
    """What training came to.

    Attributes:
        checkpoint: The best one.
        best: Its validation score.
        progress: How far it went.
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
        model: On `device`.
        reader: The training split.
        tokenizer: The model's.
        spec: Everything else.
        device: Where to train.
        folder: Gets `last.safetensors` while training goes on and `best.safetensors` whenever validation says so.
        validate: Scores the model as it is, under `val/`, the loss among them; called on the first process after every
            epoch.
        watcher: Told of steps and epochs; on the first process only.
        stop: Told of signals; once asked to stop, the first process saves a checkpoint after the step and stops.
        resume: A `last.safetensors` to go on from.
        run_id: Kept in the checkpoints.
        unchanged: Likewise.

    Returns:
        What training came to, on every process.

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
        # Files of older versions do not say when the score rose: they knew no ties, so then it was the best.
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
            # Of its own for every step and process: what a run that is resumed draws does not hang on what it drew.
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
            # The best one first: killed between the two, the epoch is done again and writes the same.
            if best:
                with average.inside():
                    save(BEST, training=False)
            save(LAST, training=True)
    assert progress.best is not None, "there is at least one epoch, and each is validated"
    return Fitted(folder / BEST, progress.best, progress)


def _judge(progress: Progress, score: float, loss: float | None) -> tuple[bool, bool]:
    """Note the scores of an epoch; say whether the score rose, and whether this is the best checkpoint so far.

    Of epochs with one score the one with the lower loss is kept; patience and schedule go by the score alone.
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
    """The scores, computed on the first process and told to the others."""
    told = [validate() if rank() == 0 else {}]
    if world() > 1:
        dist.broadcast_object_list(told)
    return told[0]
