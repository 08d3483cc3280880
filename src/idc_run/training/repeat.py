"""Repeat a run from its record in MLflow."""

from collections.abc import Sequence
from copy import deepcopy

from idc_data.strict_yaml import apply_override

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.spec import make_spec
from idc_run.tracking import provenance
from idc_run.tracking.naming import run_name
from idc_run.tracking.runs import document, names
from idc_run.training import experiment
from idc_run.training.role import Alone

TAG = "repeats"
_SHOWN = 5


def repeat(run_id: str, overrides: Sequence[str], console: Console, *, check: bool = False) -> None:
    """Report differences in code, data, packages and machine, run the spec again, and compare the weights.

    Args:
        run_id: The MLflow run id.
        overrides: `dotted.path=value` changes to the spec.
        console: Shows the report.
        check: Whether to only report the differences.

    Raises:
        ValueError: There is no such run, or it has no spec.
    """
    values = document(run_id, "spec")
    if values is None:
        raise ValueError(f"run {run_id!r} has no spec.json; expected the id of a training run of idc-run")
    before = deepcopy(values)
    for override in overrides:
        apply_override(values, override)
    spec = make_spec(values, f"run {run_id}")
    then, now = document(run_id, "provenance") or {}, experiment.comes_from(spec)
    found = provenance.differences(then, now)
    for part in now:
        console.say(f"{part}: {_shortened(found.get(part, ['the same']))}")
    for step in provenance.resumptions(names(run_id)):
        changed = provenance.differences(then, document(run_id, provenance.resumed_at(step)) or {})
        told = [f"{part} {_shortened(each)}" for part, each in changed.items()]
        console.say(f"resumed at step {step}: " + ("; ".join(told) or "nothing had changed"))
    if check:
        return
    result = experiment.run(spec, console, Alone(run_name(spec.name, overrides, before), {TAG: run_id}))
    if result is None:
        return
    old, new = (
        document(run_id, "weights"),
        provenance.digest(load_checkpoint(result.checkpoint).self_contained().weights),
    )
    if old is None:
        console.say(f"weights: run {run_id} stopped before it had any")
    else:
        console.say("weights: " + ("the same, bit for bit" if old == new else f"different from those of run {run_id}"))


def _shortened(told: Sequence[str]) -> str:
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more
