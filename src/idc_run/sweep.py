"""A sweep: trials of a study that any number of processes work on, until every one is accounted for."""

import json
import socket
import time
import uuid
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import optuna
import optuna.storages.journal as journal
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from idc_run import experiment
from idc_run.console import Console
from idc_run.experiment import Pruned, Trial
from idc_run.fit import Progress
from idc_run.latency import latency
from idc_run.space import cells, draw, with_values
from idc_run.spec import Spec, SweepSpec, make_spec
from idc_run.track import MlflowTracker, connect, flatten, store

LATENCY = "latency"
_SILENT = 600.0  # seconds without a sign of life after which a trial of another machine counts as dead
_POLL = 2.0  # seconds between two looks at what the others do


@dataclass(frozen=True)
class Sweep:
    """A sweep that is open.

    Attributes:
        values: The spec's plain values, `sweep` among them.
        spec: The same, checked.
        study: Optuna's.
        folder: Locks and the journal.
    """

    values: dict[str, Any]
    spec: Spec
    study: optuna.Study
    folder: Path

    @property
    def search(self) -> SweepSpec:
        """The `sweep` section."""
        assert self.spec.sweep is not None
        return self.spec.sweep

    @property
    def objectives(self) -> dict[str, str]:
        """What is searched for, and which way it is better."""
        return objectives(self.spec)

    def chosen(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values that a trial has tried, by path."""
        return draw(self.search.space, optuna.trial.FixedTrial(trial.params))

    def lock(self, name: str = "lock") -> FileLock:
        """What only one process of this machine may hold; one that dies lets go."""
        return FileLock(self.folder / name)


def objectives(spec: Spec) -> dict[str, str]:
    """Metrics, and which way each is better.

    Raises:
        ValueError: One of them is not computed in validation.
    """
    assert spec.sweep is not None
    chosen: dict[str, str] = dict(spec.sweep.objectives) or {spec.eval.select: "maximize"}
    known = {*spec.eval.metrics, spec.eval.select, LATENCY}
    if unknown := [name for name in chosen if name not in known and not ("bleu" in known and name.startswith("bleu-"))]:
        raise ValueError(
            f"sweep.objectives has {unknown[0]!r}, which validation does not compute; expected some of: "
            f"{', '.join(sorted(known))}"
        )
    return chosen


def open_sweep(values: dict[str, Any]) -> Sweep:
    """Begin a study, or join it.

    Raises:
        ValueError: The space leads to a spec that is not valid, or the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = make_spec(values)
    assert spec.sweep is not None
    directions: list[Any] = list(objectives(spec).values())
    for path, node in spec.sweep.space.items():
        # A misspelt path is found now, and not after the first trial.
        trial = optuna.create_study().ask()
        make_spec(with_values(values, draw({path: _unconditional(node)}, trial)), f"sweep.space.{path}")
    told = json.dumps([spec.completed(), spec.sweep.model_dump(mode="json")], sort_keys=True)
    name = f"{spec.name}-{sha256(told.encode()).hexdigest()[:12]}"
    folder = store() / "sweeps" / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        study = optuna.create_study(
            study_name=name,
            storage=_storage(spec.sweep, folder),
            pruner=_pruner(spec.sweep, directions),
            directions=directions,
            load_if_exists=True,
        )
        if "queued" not in study.user_attrs:
            # Every trial is there from the start, so that any number of processes do just as many as were asked for.
            grid = spec.sweep.sampler == "grid"
            queue = list(cells(spec.sweep.space)) if grid else [{}] * spec.sweep.trials
            for number, params in enumerate(queue):
                study.enqueue_trial(params, user_attrs={"queued": number})
            study.set_user_attr("queued", len(queue))
        # One process alone draws the same trials again; one more, or one that joins later, must not repeat them.
        processes = study.user_attrs.get("processes", 0)
        study.set_user_attr("processes", processes + 1)
        study.sampler = _sampler(spec, processes)
    return Sweep(values, spec, study, folder)


def work(sweep: Sweep, console: Console) -> None:
    """Do trials until none is left, those of processes that died included, then wait for the others.

    A trial that fails is recorded with its cause, and the sweep goes on.
    """
    worker, began = f"worker-{uuid.uuid4().hex}", time.monotonic()
    parent = _parent(sweep)
    with sweep.lock(worker):
        while True:
            with sweep.lock():
                _rescue(sweep)
                late = sweep.search.timeout and time.monotonic() - began > sweep.search.timeout
                waiting = [t for t in _trials(sweep) if t.state == TrialState.WAITING]
                trial = sweep.study.ask() if waiting and not late else None
            if trial is not None and "queued" not in trial.user_attrs:
                sweep.study.tell(trial, state=TrialState.FAIL)  # another machine was faster
            elif trial is not None:
                _do(sweep, trial, worker, parent, console)
            elif not any(t.state == TrialState.RUNNING for t in _trials(sweep)):
                break
            else:
                time.sleep(_POLL)
    (sweep.folder / worker).unlink(missing_ok=True)


def _do(sweep: Sweep, trial: optuna.Trial, worker: str, parent: str, console: Console) -> None:
    chosen = draw(sweep.search.space, trial)
    trial.set_user_attr("worker", worker)
    trial.set_user_attr("host", socket.gethostname())
    trial.set_user_attr("alive", time.time())
    labels = {path: _short(label) for path, label in trial.params.items()}
    console.say(f"trial {trial.number}: " + (", ".join(" ".join(each) for each in labels.items()) or "as it is"))
    names, seen = list(sweep.objectives), {"reported": 0}
    at_best: dict[str, float] = {}

    def epoch(progress: Progress, scores: dict[str, float]) -> None:
        trial.set_user_attr("alive", time.time())
        if progress.best_epoch == progress.epoch:
            at_best.update(scores)
        if len(names) > 1:
            return
        if names[0] == sweep.spec.eval.select:  # a trial that goes on after a kill tells what was before, too
            for number, (_, score) in enumerate(progress.scores[seen["reported"] :], start=seen["reported"] + 1):
                trial.report(score, number)
            seen["reported"] = len(progress.scores)
        else:
            trial.report(scores[f"val/{names[0]}"], progress.epoch)
        if trial.should_prune():
            raise Pruned

    tags = {"sweep": sweep.study.study_name, "trial": str(trial.number), "chosen": json.dumps(labels)}
    part = Trial(
        sweep.spec.name,
        ", ".join(f"seed {label}" if path == "seed" else label for path, label in labels.items()) or sweep.spec.name,
        tags | ({"mlflow.parentRunId": parent} if parent else {}),
        begun=lambda run: trial.set_user_attr("run", run),
        epoch=epoch,
        test=not sweep.search.seeds,
        last=None,
    )
    try:
        spec = make_spec(with_values(sweep.values, chosen), f"trial {trial.number}")
        if set(names) <= {sweep.spec.eval.select, LATENCY}:  # a checkpoint knows the history of no other metric
            part = _going_on(part, spec, trial)
        result = experiment.run(spec, console, trial=part)
        assert result is not None
        values = [
            latency(result.checkpoint) if name == LATENCY else _at_best(name, at_best, result, sweep) for name in names
        ]
        for name, value in result.test.items():
            trial.set_user_attr(f"test/{name}", value)
        sweep.study.tell(trial, values)
    except Pruned:
        sweep.study.tell(trial, state=TrialState.PRUNED)
        console.say(f"trial {trial.number}: pruned")
    except Exception as error:  # whatever it is, the other trials go on
        trial.set_user_attr("cause", f"{type(error).__name__}: {error}"[:500])
        sweep.study.tell(trial, state=TrialState.FAIL)
        console.say(f"trial {trial.number}: failed: {error}")


def _at_best(name: str, at_best: dict[str, float], result: experiment.Result, sweep: Sweep) -> float:
    return result.best if name == sweep.spec.eval.select else at_best[f"val/{name}"]


def _going_on(part: Trial, spec: Spec, trial: optuna.Trial) -> Trial:
    """The same trial from the checkpoint that a killed process has left, if it has."""
    run = trial.user_attrs.get("goes_on")
    last = experiment.folder_of(spec) / run / "last.safetensors" if run else None
    if last is None or not last.is_file():
        return part
    return replace(part, last=last)


def _rescue(sweep: Sweep) -> None:
    """Queue the trials of dead processes again; called with the lock held."""
    for trial in _trials(sweep):
        if trial.state != TrialState.RUNNING or not _dead(sweep, trial):
            continue
        sweep.study.tell(trial.number, state=TrialState.FAIL)
        told = {"queued": trial.user_attrs.get("queued"), "retry_of": trial.number}
        if run := trial.user_attrs.get("run"):
            told["goes_on"] = run
        sweep.study.enqueue_trial(trial.params, user_attrs=told)


def _dead(sweep: Sweep, trial: FrozenTrial) -> bool:
    worker, host = trial.user_attrs.get("worker"), trial.user_attrs.get("host")
    if worker is None or host != socket.gethostname():
        began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return time.time() - trial.user_attrs.get("alive", began) > _SILENT
    lock = sweep.lock(worker)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def _trials(sweep: Sweep) -> list[FrozenTrial]:
    return sweep.study.get_trials(deepcopy=False)


def _parent(sweep: Sweep) -> str:
    """The parent run in MLflow, made by whoever comes first; empty without tracking."""
    if sweep.spec.tracking == "off":
        return ""
    with sweep.lock():
        if "run" not in sweep.study.user_attrs:
            client = connect().MlflowClient()
            experiment_id = MlflowTracker(sweep.spec.name, f"test/{sweep.spec.eval.select}").experiment
            run = client.create_run(experiment_id, run_name=f"sweep: {sweep.spec.name}")
            client.set_tag(run.info.run_id, "sweep", sweep.study.study_name)
            for name, value in flatten(sweep.search.model_dump(mode="json")).items():
                client.log_param(run.info.run_id, f"sweep.{name}", value)
            sweep.study.set_user_attr("run", run.info.run_id)
        return sweep.study.user_attrs["run"]


def _storage(search: SweepSpec, folder: Path) -> Any:
    if search.storage:
        return search.storage
    backend = journal.JournalFileBackend(
        str(folder / "journal.log"),
        # Links are not to be had on every file system.
        lock_obj=journal.JournalFileOpenLock(str(folder / "journal.log")),
    )
    return optuna.storages.JournalStorage(backend)


def _sampler(spec: Spec, process: int) -> optuna.samplers.BaseSampler:
    assert spec.sweep is not None
    seed = spec.seed * 1000 + process
    if spec.sweep.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, group=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _pruner(search: SweepSpec, directions: list[Any]) -> optuna.pruners.BasePruner:
    if search.pruner == "none" or len(directions) > 1 or not search.seeds:
        return optuna.pruners.NopPruner()  # what is compared in a table is trained to its end
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)


def _unconditional(node: Any) -> Any:
    return node if isinstance(node, list) else node.model_copy(update={"when": {}})


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
