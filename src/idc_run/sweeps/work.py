"""What one process does for a sweep: attempts, until nothing is left."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from optuna import Trial as Attempt
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from idc_run.console import Console
from idc_run.progress import Progress
from idc_run.space import with_values
from idc_run.spec import Spec, make_spec
from idc_run.sweeps.latency import latency
from idc_run.sweeps.queue import busy, seed_of, take
from idc_run.sweeps.study import LATENCY, Sweep
from idc_run.sweeps.table import PLANNED
from idc_run.tracking.address import mask
from idc_run.tracking.naming import setting_names
from idc_run.tracking.server import Outage
from idc_run.tracking.tracker import MlflowTracker, connect, flatten
from idc_run.training import experiment
from idc_run.training.experiment import Pruned, Trial
from idc_run.training.unfinished import open_unfinished

_POLL = 2.0  # seconds between two looks at what the others do
_BEAT = 60.0  # seconds between two signs of life


def work(sweep: Sweep, console: Console) -> None:
    """Do what is left, the trials of processes that died included, and wait for the others.

    A trial that fails is recorded with its cause, and the sweep goes on.
    """
    worker, parent = f"worker-{uuid.uuid4().hex}", _parent(sweep)
    ends = time.monotonic() + (sweep.search.timeout or float("inf"))
    with sweep.lock(worker):
        while True:
            if time.monotonic() > ends:
                sweep.study.set_user_attr("closed", True)
                ends = float("inf")  # once: another process may begin the search again
            others = busy(sweep)  # before looking for work: what ends in between may leave some
            attempt = take(sweep, worker)
            if attempt is not None:
                with _alive(attempt):
                    _do(sweep, attempt, parent, console)
            elif others:
                time.sleep(_POLL)
            else:
                break
    (sweep.folder / worker).unlink(missing_ok=True)


@contextmanager
def _alive(attempt: Attempt) -> Iterator[None]:
    """Give a sign of life every minute: other machines see no more of this one."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            try:
                attempt.set_user_attr("alive", time.time())
            except Exception:  # the storage may be away for a while; if it is gone, the trial will find out
                continue

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _do(sweep: Sweep, attempt: Attempt, parent: str, console: Console) -> None:
    spec = sweep.spec
    try:
        chosen = sweep.chosen(attempt)
        seed = seed_of(attempt.user_attrs["item"])
        spec = make_spec(with_values(sweep.values, chosen), f"trial {attempt.number}")
        if seed is not None:
            spec = spec.model_copy(update={"seed": spec.seed + seed})
        labels = {path: _short(label) for path, label in attempt.params.items()}
        _announce(sweep, attempt, spec, labels, console)
        names, at_best = list(sweep.objectives), {}
        told = {"sweep": sweep.study.study_name}
        told |= (
            {"trial": f"best, seed {spec.seed}"}
            if seed is not None
            else {"trial": str(attempt.number), "chosen": json.dumps(labels)}
        )
        part = Trial(
            sweep.spec.name,
            _name(sweep, labels, seed, spec),
            told | ({"mlflow.parentRunId": parent} if parent else {}),
            begun=lambda run: attempt.set_user_attr("run", run),
            epoch=_watch(sweep, attempt, at_best, prune=seed is None),
            test=seed is not None or not sweep.search.seeds,
        )
        result = experiment.run(spec, console, trial=_going_on(sweep, attempt, part, spec, console))
        assert result is not None
        for name, value in result.test.items():
            attempt.set_user_attr(f"test/{name}", value)
        at_best[f"val/{sweep.spec.eval.select}"] = result.best
        values = [latency(result.checkpoint) if name == LATENCY else at_best[f"val/{name}"] for name in names]
        sweep.study.tell(attempt, values, skip_if_finished=True)
    except Pruned:
        sweep.study.tell(attempt, state=TrialState.PRUNED, skip_if_finished=True)
        (experiment.folder_of(spec) / attempt.user_attrs["run"] / "last.safetensors").unlink(missing_ok=True)
        console.say(f"trial {attempt.number}: pruned")
    except UpdateFinishedTrialError:
        console.say(f"trial {attempt.number}: another machine took this one for dead, and does it again")
    except Outage:  # nothing is wrong with the trial, and the next one would fare no better
        sweep.study.tell(attempt, state=TrialState.FAIL, skip_if_finished=True)
        raise
    except Exception as error:  # whatever it is, the other trials go on
        with suppress(UpdateFinishedTrialError):
            attempt.set_user_attr("cause", mask(f"{type(error).__name__}: {error}")[:500])
        sweep.study.tell(attempt, state=TrialState.FAIL, skip_if_finished=True)
        console.say(mask(f"trial {attempt.number}: failed: {error}"))


def _announce(sweep: Sweep, attempt: Attempt, spec: Spec, labels: dict[str, str], console: Console) -> None:
    item = attempt.user_attrs["item"]
    if isinstance(item, int):
        what = ", ".join(" ".join(each) for each in labels.items()) or "as it is"
        console.say(f"trial {attempt.number}, {item + 1} of {len(sweep.tries)}: {what}")
    else:
        console.say(f"trial {attempt.number}: the best one, {sweep.best().number}, with seed {spec.seed}")


def _name(sweep: Sweep, labels: dict[str, str], seed: int | None, spec: Spec) -> str:
    if seed is not None:
        return f"best: seed {spec.seed}"
    return ", ".join(setting_names(labels)) or sweep.spec.name


def _watch(sweep: Sweep, attempt: Attempt, at_best: dict[str, float], *, prune: bool) -> Any:
    """What is done after an epoch: keep the scores of the best one, and let the study see how the trial goes."""
    names, select = list(sweep.objectives), sweep.spec.eval.select
    reported = 0

    def epoch(progress: Progress, scores: dict[str, float]) -> None:
        nonlocal reported
        attempt.set_user_attr("epoch", progress.epoch)
        if progress.best_epoch == progress.epoch:
            at_best.update(scores)
        if len(names) > 1 or names[0] == LATENCY or not prune:
            return
        if names[0] == select:  # a trial that goes on after a kill tells what was before, too
            for number, (_, score) in enumerate(progress.scores[reported:], start=reported + 1):
                attempt.report(score, number)
            reported = len(progress.scores)
        else:
            attempt.report(scores[f"val/{names[0]}"], progress.epoch)
        if attempt.should_prune():
            raise Pruned

    return epoch


def _going_on(sweep: Sweep, attempt: Attempt, part: Trial, spec: Spec, console: Console) -> Trial:
    """The same trial from the checkpoint that a killed process has left; without one here, that one's run is over."""
    run = attempt.user_attrs.get("goes_on")
    if not run:
        return part
    last = experiment.folder_of(spec) / run / "last.safetensors"
    # A checkpoint knows the history of no other metric.
    if last.is_file() and set(sweep.objectives) <= {sweep.spec.eval.select, LATENCY}:
        try:
            return replace(part, last=open_unfinished(last, spec))
        except ValueError as error:
            console.say(f"trial {attempt.number} begins anew: {error}")
    if sweep.spec.tracking == "mlflow":
        mlflow = connect()
        with suppress(mlflow.exceptions.MlflowException):  # it is another machine's, or was deleted
            mlflow.MlflowClient().set_terminated(run, "FAILED")
    return part


def _parent(sweep: Sweep) -> str:
    """The parent run in MLflow, made by whoever comes first; empty without tracking."""
    if sweep.spec.tracking == "off":
        return ""
    with sweep.lock():
        if "run" not in sweep.study.user_attrs:
            client = connect().MlflowClient()
            kept = MlflowTracker(sweep.spec.name, f"test/{sweep.spec.eval.select}").experiment
            run = client.create_run(kept, run_name=f"sweep: {sweep.spec.name}").info.run_id
            client.set_tag(run, "sweep", sweep.study.study_name)
            # Not the storage, which may hold a password; and a name in the space may be none for a parameter.
            told = sweep.search.model_dump(mode="json", exclude={"storage", "space"})
            for name, value in flatten(told).items():
                client.log_param(run, f"sweep.{name}", value)
            client.log_dict(run, sweep.search.model_dump(mode="json", include={"space"}), "space.json")
            sweep.study.set_user_attr("run", run)
            if sweep.search.storage:  # a machine that does not see the lock may have made one, too
                time.sleep(_POLL)
                if sweep.study.user_attrs["run"] != run:
                    client.delete_run(run)
        run = sweep.study.user_attrs["run"]
        connect().MlflowClient().set_tag(run, PLANNED, str(len(sweep.tries)))
        return run


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
