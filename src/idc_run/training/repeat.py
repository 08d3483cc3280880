"""A run again, from nothing but what MLflow keeps of it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from idc_data.strict_yaml import apply_override

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.spec import make_spec
from idc_run.tracking import provenance
from idc_run.tracking.naming import run_name
from idc_run.tracking.tracker import connect
from idc_run.training import experiment

TAG = "repeats"
_SHOWN = 5


def repeat(run_id: str, overrides: Sequence[str], console: Console, *, check: bool = False) -> None:
    """Say what differs from a run's code, data, packages and machine, run it again, and compare the weights.

    Args:
        run_id: As the MLflow UI shows it.
        overrides: `dotted.path=value`, to repeat it with a change.
        console: Where it is told.
        check: Only say what differs.

    Raises:
        ValueError: There is no such run, or it has no spec.
    """
    values = _load(run_id, "spec")
    if values is None:
        raise ValueError(f"run {run_id!r} has no spec.json; expected the id of a run of idc-run that trained a model")
    before = deepcopy(values)
    for override in overrides:
        apply_override(values, override)
    spec = make_spec(values, f"run {run_id}")
    then, now = _load(run_id, "provenance") or {}, experiment.origin(spec)
    found = provenance.differences(then, now)
    for part in now:
        console.say(f"{part}: {_shortened(found.get(part, ['the same']))}")
    for step in provenance.resumptions(_names(run_id)):
        changed = provenance.differences(then, _load(run_id, provenance.resumed_at(step)) or {})
        told = [f"{part} {_shortened(each)}" for part, each in changed.items()]
        console.say(f"resumed at step {step}: " + ("; ".join(told) or "nothing had changed"))
    if check:
        return
    result = experiment.run(spec, console, tags={TAG: run_id}, name=run_name(spec.name, overrides, before))
    if result is None:
        return
    old, new = _load(run_id, "weights"), provenance.digest(load_checkpoint(result.checkpoint).weights)
    if old is None:
        console.say(f"weights: run {run_id} has not come so far as to have some")
    else:
        console.say("weights: " + ("the same, bit for bit" if old == new else f"not those of run {run_id}"))


def _shortened(told: Sequence[str]) -> str:
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more


def _names(run_id: str) -> list[str]:
    return [item.path for item in connect().MlflowClient().list_artifacts(run_id)]


def _load(run_id: str, name: str) -> dict[str, Any] | None:
    """A document that `Tracker.json` has kept; None if the run has none of this name."""
    mlflow = connect()
    try:
        run = mlflow.get_run(run_id)
        if f"{name}.json" not in _names(run_id):
            return None
        return mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{name}.json")
    except mlflow.exceptions.MlflowException as error:
        if error.get_http_status_code() not in (400, 404):
            raise
        raise ValueError(f"MLflow has no run {run_id!r} at {mlflow.get_tracking_uri()}: {error}") from error
