"""A whole experiment: data, model, training, validation, test, tracking and registration, in this order."""

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from idc_data.batch import Batch
from idc_data.check import check_dataset, grouped
from idc_data.loader import train_batches
from idc_data.tokenizers import Tokenizer
from idc_eval.metrics import DIAGNOSTICS, metric_names, shown
from idc_eval.score import score
from idc_models.captioner import PARTS, Captioner
from idc_models.spec import build_captioner

from idc_run.checkpoint import load_checkpoint, save_checkpoint
from idc_run.console import Console
from idc_run.progress import Progress
from idc_run.spec import Spec
from idc_run.tracking import artifacts, note, provenance, registry
from idc_run.tracking.champion import Standing
from idc_run.tracking.generation import source
from idc_run.tracking.server import Outage, explain
from idc_run.tracking.tracker import MlflowTracker, NullTracker, Tracker, flatten, store
from idc_run.training.ahead import look_ahead, steps_per_epoch
from idc_run.training.data import (
    Data,
    datasets,
    folder_read,
    identity,
    no_change,
    no_change_sentences,
    open_data,
    validation_sample,
)
from idc_run.training.describe import described
from idc_run.training.fit import fit, rank, together
from idc_run.training.predict import predict
from idc_run.training.start import Start, open_start
from idc_run.training.unfinished import Unfinished, find_unfinished


@dataclass(frozen=True)
class Result:
    """What an experiment found: its run, the best checkpoint with its validation score, and the test scores."""

    run_id: str
    checkpoint: Path
    best: float
    test: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """The part that a run has in a sweep.

    Attributes:
        family: MLflow's experiment, in which it is compared with the others.
        name: Of the run there.
        tags: Of the run, among them the parent's id.
        begun: Told the id of the run.
        epoch: Told of every epoch; may raise to end the run.
        test: Whether to test and register it; else it ends with the validation.
        last: A checkpoint of the same trial to go on from, left by a process that was killed.
    """

    family: str
    name: str
    tags: dict[str, str]
    begun: Callable[[str], None]
    epoch: Callable[[Progress, dict[str, float]], None]
    test: bool
    last: Unfinished | None = None


class Pruned(Exception):
    """The sweep ends a trial that promises little."""


def check(spec: Spec, console: Console) -> None:
    """Open the data, build the model and try one batch, without writing anything."""
    device, start = prepare(spec), _start(spec)
    if folder := folder_read(spec):
        for problem in grouped(check_dataset(folder)):
            console.say(problem)
    data = open_data(spec, start and start.tokenizer)
    warnings = look_ahead(spec, data, validation_sample(data), steps_per_epoch(spec, data))
    model = _build(spec, data.tokenizer, device, start)
    batch = next(_first_batch(spec, data)).to(device)
    console.checked(spec, data, model, model.loss(batch)["loss"].item(), warnings)


def origin(spec: Spec) -> dict[str, Any]:
    """Where a run of this spec would come from, here and now; writes nothing."""
    device = prepare(spec)
    return _origin(spec, open_data(spec), device)


def run(
    spec: Spec,
    console: Console,
    *,
    resume: bool = False,
    trial: Trial | None = None,
    tags: Mapping[str, str] = MappingProxyType({}),
    name: str = "",
) -> Result | None:
    """Do what the spec says; only the first of several processes scores, tracks and registers.

    Args:
        spec: The experiment.
        console: Where progress and results are shown.
        resume: Go on with the newest unfinished run of the same spec.
        trial: The sweep that it is part of.
        tags: Of the run, beside its own.
        name: Of the run; by default the spec's.

    Returns:
        What was found; None on all processes but the first.

    Raises:
        ValueError: There is nothing to resume, or data or pre-trained weights cannot be had.
    """
    device = prepare(spec)
    with together(device):
        resumed = find_unfinished(folder_of(spec), spec, console.say) if resume and not trial else None
        start = trial.last if trial else resumed
        named = trial.name if trial else name or spec.name
        return _run(spec, console, device, start, trial, trial.tags if trial else tags, named)


def _run(
    spec: Spec,
    console: Console,
    device: torch.device,
    start: Unfinished | None,
    trial: Trial | None,
    tags: Mapping[str, str],
    name: str,
) -> Result | None:
    checkpoint, folder = (start.checkpoint, start.folder) if start else (None, None)
    begun_with = None if checkpoint else _start(spec)
    data = open_data(spec, checkpoint.tokenizer if checkpoint else begun_with and begun_with.tokenizer)
    epoch_steps, validation = steps_per_epoch(spec, data), validation_sample(data)
    warnings = look_ahead(spec, data, validation, epoch_steps)
    model = _build(spec, data.tokenizer, device, begun_with, pretrained=checkpoint is None)
    first = rank() == 0
    tracked = spec.tracking == "mlflow" and first
    family = trial.family if trial else spec.eval.protocol
    tracker: Tracker = MlflowTracker(family, f"test/{spec.eval.select}") if tracked else NullTracker()
    came_from = _origin(spec, data, device)
    try:
        run_id = tracker.begin(
            name,
            flatten(spec.completed()),
            provenance.tags(spec, came_from) | source(spec.completed()["data"]["dataset"]) | dict(tags),
            datasets(spec, data),
            checkpoint.progress["run_id"] if checkpoint else "",
        )
        if checkpoint is None:
            tracker.json({"spec": spec.completed(), "provenance": came_from})
        else:  # what came from a checkpoint of the same step before was lost, and is written over
            tracker.json({provenance.resumed_at(checkpoint.progress["step"]): came_from})
        folder = folder or folder_of(spec) / run_id
        if first:
            folder.mkdir(parents=True, exist_ok=True)
        if trial:
            trial.begun(run_id)
        console.begin(spec, data, model, epoch_steps, checkpoint, warnings)
        progress = fit(
            model,
            data.train,
            data.tokenizer,
            spec,
            device=device,
            folder=folder,
            validate=lambda: _validate(spec, data, model, device),
            watcher=_Watcher(tracker, console, trial),
            resume=checkpoint,
            run_id=run_id,
            unchanged=checkpoint.unchanged if checkpoint else no_change_sentences(validation, data.tokenizer),
        )
        result, best = None, folder / "best.safetensors"
        if first:
            tracker.json({"weights": provenance.digest(load_checkpoint(best).weights)})
        if first and trial and not trial.test:
            assert progress.best is not None
            result = Result(run_id, best, progress.best, {})
        elif first:
            result = _finish(spec, data, device, folder, tracker, console, progress, alone=trial is None)
        tracker.end()
        if first:  # now there is nothing to resume
            (folder / "last.safetensors").unlink(missing_ok=True)
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt | Pruned) else "FAILED"
        tracker.end(status, " ".join(f"{type(error).__name__}: {error}".split()))
        if fault := explain(error):
            raise Outage(f"{fault}; {_kept(folder, trial)}") from error
        raise
    finally:
        console.close()
    return result


def _finish(
    spec: Spec,
    data: Data,
    device: torch.device,
    folder: Path,
    tracker: Tracker,
    console: Console,
    progress: Progress,
    *,
    alone: bool,
) -> Result:
    """Test the best checkpoint once, write everything down, and register it."""
    best = folder / "best.safetensors"
    checkpoint = described(load_checkpoint(best), data, device)
    save_checkpoint(best, checkpoint)
    model = checkpoint.build(device)
    with console.captioning("test", len(data.test)) as advance:
        predictions = predict(
            model,
            data.test,
            data.tokenizer,
            spec.data,
            spec.eval,
            device,
            advance,
            diagnose=True,
            familiar=checkpoint.description and checkpoint.description.familiar,
        )
    scores = score(
        predictions, [*spec.eval.metrics, *DIAGNOSTICS], protocol=spec.eval.protocol, no_change=no_change(spec)
    )
    ceiling = artifacts.ceiling_of(spec, predictions)
    tracker.metrics({f"test/{name}": value for name, value in scores.values.items()}, progress.step)
    artifacts.log_results(spec, data.test, predictions, scores, ceiling, tracker, progress)
    pairs = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
    made_from = source(spec.completed()["data"]["dataset"]).get(note.DESCRIPTION, "")
    about = note.of_run(spec, pairs, scores, ceiling, progress.run_id, made_from)
    tracker.tag(note.DESCRIPTION, about)
    registered = None
    if spec.register_ and spec.tracking == "mlflow":
        assert progress.best is not None
        standing = Standing(f"val/{spec.eval.select}", spec.eval.protocol, identity(spec, data.val), progress.best)
        registered = registry.register(best, spec.register_.model, standing, about)
    asked = metric_names(spec.eval.metrics)
    if alone:
        console.finished(
            spec, scores, ceiling.values if ceiling else {}, predictions, best, registered, tracker.where()
        )
    else:
        console.say(", ".join(f"{name} {shown(name, scores.values[name])}" for name in scores.values if name in asked))
    assert progress.best is not None
    return Result(progress.run_id, best, progress.best, scores.values)


def _validate(spec: Spec, data: Data, model: Captioner, device: torch.device) -> dict[str, float]:
    """Validation scores, decoded as the test is, and the loss over the first reference of each pair.

    METEOR waits for the test, unless it is what selects.
    """
    metrics = {metric for metric in spec.eval.metrics if metric != "meteor"} | {spec.eval.select}
    losses: list[float] = []

    def teach(batch: Batch) -> None:
        losses.extend([model.loss(batch)["loss"].item()] * len(batch.ids))

    # An objective may draw numbers, which training shall not miss.
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        predictions = predict(model, data.val, data.tokenizer, spec.data, spec.eval, device, each=teach)
    scores = score(predictions, sorted(metrics), protocol=spec.eval.protocol, no_change=no_change(spec))
    if spec.eval.select not in scores.values:
        raise ValueError(f"eval.select is {spec.eval.select!r}, but there {scores.skipped[spec.eval.select]}")
    return {"val/loss": fmean(losses)} | {f"val/{name}": value for name, value in scores.values.items()}


class _Watcher:
    """Passes what training tells to the tracker and the console."""

    def __init__(self, tracker: Tracker, console: Console, trial: Trial | None) -> None:
        self._tracker, self._console, self._trial = tracker, console, trial

    def step(self, progress: Progress, losses: dict[str, float] | None) -> None:
        if losses:
            self._tracker.metrics(losses, progress.step)
        self._console.step(progress.step, losses)

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        self._tracker.metrics(scores, progress.step)
        self._console.epoch(progress.epoch, scores, best=progress.best_epoch == progress.epoch)
        if self._trial:
            self._trial.epoch(progress, scores)


def prepare(spec: Spec) -> torch.device:
    """Seed everything, choose the device and the number of threads."""
    random.seed(spec.seed)
    np.random.seed(spec.seed % 2**32)
    torch.manual_seed(spec.seed)
    if spec.train.threads:
        torch.set_num_threads(spec.train.threads)
    if spec.train.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is 'cuda', but torch sees no GPU here; use auto or cpu")
    cuda = torch.cuda.is_available() and spec.train.device != "cpu"
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")


def _start(spec: Spec) -> Start | None:
    return open_start(spec.train.start, spec.data.max_length) if spec.train.start else None


def _build(
    spec: Spec, tokenizer: Tokenizer, device: torch.device, start: Start | None = None, *, pretrained: bool = True
) -> Captioner:
    torch.manual_seed(spec.seed)
    model = build_captioner(spec.model, tokenizer, spec.train.objectives, pretrained=False)
    if pretrained:
        model.load_pretrained([part for part in PARTS if not (start and part in start.parts)])
    if start:
        start.give(model)
    for tensor in model.to(device).state_dict(keep_vars=True).values():
        if tensor.dim() == 4:  # Module.to(memory_format=...) wants it of parameters with five axes, too
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return model


def _first_batch(spec: Spec, data: Data) -> Any:
    alone = spec.data.model_copy(update={"workers": 0})
    return islice(train_batches(data.train, data.tokenizer, alone, seed=spec.seed), 1)


def folder_of(spec: Spec) -> Path:
    """Where checkpoints of a spec lie, one folder per run in it."""
    return store() / "checkpoints" / f"{spec.name}-{spec.fingerprint()}"


def _kept(folder: Path | None, trial: Trial | None) -> str:
    """How to go on with a run that something outside has ended."""
    last = folder / "last.safetensors" if folder else None
    if trial:
        return "the same command goes on with the sweep"
    if last and last.is_file():
        return f"{last} is kept, and the same command with --resume goes on from it"
    return "no step of the run is kept yet, so give the command again"


def _origin(spec: Spec, data: Data, device: torch.device) -> dict[str, Any]:
    return provenance.collect(spec, {split: digest for split, (_, digest) in datasets(spec, data).items()}, device)
