"""A whole experiment: data, model, training, validation, test, tracking and registration, in this order."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from idc_data.check import check_dataset, grouped
from idc_data.loader import train_batches

from idc_run.console import Console
from idc_run.spec import Spec
from idc_run.training.data import folder_read, open_data
from idc_run.training.feature_cache import with_features
from idc_run.training.finish import finish
from idc_run.training.fit import fit
from idc_run.training.processes import rank, together
from idc_run.training.ready import get_ready, prepare
from idc_run.training.role import Alone, Role
from idc_run.training.scoring import validate
from idc_run.training.stopping import stopping
from idc_run.training.tracked import Watcher, origin, tracking


@dataclass(frozen=True)
class Result:
    """The result of an experiment: run id, best checkpoint, its validation score, and the test scores."""

    run_id: str
    checkpoint: Path
    best: float
    test: Mapping[str, float]


def run(spec: Spec, console: Console, role: Role = Alone()) -> Result | None:  # noqa: B008 - it is frozen
    """Run the experiment; only the first of several processes scores, tracks and registers.

    Args:
        spec: The experiment.
        console: Shows progress and results.
        role: `Alone`, or a trial of a sweep.

    Returns:
        The result; None on all processes but the first.

    Raises:
        ValueError: There is nothing to resume, or data or pre-trained weights are unavailable.
        Outage: MLflow or one of its stores failed.
        Stopped: Ctrl-C or SIGTERM; training saves a checkpoint first.
    """
    device = prepare(spec)
    with stopping() as stop, together(device):
        unfinished = role.unfinished(spec, console.say)
        resumed = unfinished and unfinished.checkpoint
        ready = get_ready(spec, device, resumed)
        data, model = ready.data, ready.model
        with tracking(spec, role, data, device, unfinished) as run, closing(console):
            if spec.data.features == "cache":
                data = with_features(spec, data, model, device, console)
            console.begin(spec, data, model, ready.epoch_steps, resumed, ready.warnings)
            fitted = fit(
                model,
                data.train,
                data.tokenizer,
                spec,
                device=device,
                folder=run.folder,
                validate=lambda: validate(spec, data, model, device),
                watcher=Watcher(run.tracker, console, role),
                stop=stop,
                resume=resumed,
                run_id=run.id,
                unchanged=ready.unchanged,
            )
            if rank():
                return None
            scores = finish(spec, role, run, fitted, data, device, console)
            return Result(run.id, fitted.checkpoint, fitted.best, scores)


def check(spec: Spec, console: Console) -> None:
    """Open the data, build the model and try one batch, without writing anything."""
    device = prepare(spec)
    if folder := folder_read(spec):
        for problem in grouped(check_dataset(folder)):
            console.say(problem)
    ready = get_ready(spec, device)
    here = spec.data.model_copy(update={"workers": 0})
    (batch,) = islice(train_batches(ready.data.train, ready.data.tokenizer, here, seed=spec.seed), 1)
    loss = ready.model.loss(batch.to(device))["loss"].item()
    console.checked(spec, ready.data, ready.model, loss, ready.warnings)


def comes_from(spec: Spec) -> dict[str, Any]:
    """Return the provenance that a run of this spec would have now; writes nothing."""
    device = prepare(spec)
    return origin(spec, open_data(spec), device)
