"""A sweep: a study of Optuna's that any number of processes and machines share."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import optuna
import optuna.storages.journal as journal
from filelock import FileLock
from idc_eval.metrics import metric_names
from optuna.trial import FrozenTrial, TrialState

from idc_run.space import Node, cells, conditions, draw, options, sets, with_values
from idc_run.spec import Direction, Spec, SweepSpec, make_spec
from idc_run.sweeps.probe import Probe
from idc_run.tracking.store import store

LATENCY = "latency"
_PATIENCE = 100  # draws without anything new after which the rest of a space counts as out of reach


@dataclass(frozen=True)
class Sweep:
    """A sweep that is open.

    Attributes:
        values: The spec's plain values, `sweep` among them.
        spec: The same, checked.
        study: Optuna's.
        folder: Locks and the journal; beside a SQLite file, whoever opens it.
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
    def objectives(self) -> dict[str, Direction]:
        """What is searched for, and which way it is better."""
        return objectives(self.spec)

    @cached_property
    def tries(self) -> list[dict[str, Any]]:
        """The parameters that are given for each try of the search: all of a cell's in a grid, else none."""
        grid = self.search.sampler == "grid"
        return list(cells(self.search.space)) if grid else [{} for _ in range(self.search.trials)]

    def chosen(self, trial: optuna.Trial) -> dict[str, Any]:
        """The values that a trial tries, by path; draws those that are not given."""
        return draw(self.search.space, trial, self.spec.completed())

    def best(self) -> FrozenTrial:
        """The best trial of the search by the first objective.

        Raises:
            ValueError: No trial has come to its end; tells why the last one failed.
        """
        complete = [trial for trial in self.searched() if trial.state == TrialState.COMPLETE]
        if not complete:
            causes = [trial.user_attrs["cause"] for trial in self.searched() if "cause" in trial.user_attrs]
            raise ValueError(
                f"no trial of the sweep came to its end; the last one: {causes[-1] if causes else 'its process died'}; "
                "the same command with --resume tries them again"
            )
        up = next(iter(self.objectives.values())) == "maximize"
        return max(complete, key=lambda trial: trial.values[0] if up else -trial.values[0])

    def searched(self) -> list[FrozenTrial]:
        """The trials of the search, without those that train the best one again."""
        return [trial for trial in self.trials() if isinstance(trial.user_attrs.get("item"), int)]

    def trials(self) -> list[FrozenTrial]:
        """All trials, as they are now."""
        return self.study.get_trials(deepcopy=False)

    def lock(self, name: str = "lock") -> FileLock:
        """What only one process of this machine may hold; one that dies lets go."""
        return FileLock(self.folder / name)


def objectives(spec: Spec) -> dict[str, Direction]:
    """Metrics, and which way each is better.

    Raises:
        ValueError: One of them is not computed in validation.
    """
    assert spec.sweep is not None
    chosen: dict[str, Direction] = dict(spec.sweep.objectives) or {spec.eval.select: "maximize"}
    known = {*metric_names(spec.eval.metrics), LATENCY} - {"meteor"} | {spec.eval.select}
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(
            f"sweep.objectives has {unknown[0]!r}, which validation does not compute; expected some of: "
            f"{', '.join(sorted(known))}"
        )
    return chosen


def check_sweep(values: dict[str, Any], spec: Spec) -> None:
    """Draw from the space until every choice and both ends of every range were there; each draw has to be a spec.

    Raises:
        ValueError: One is not, a condition never holds, or an objective is not computed.
    """
    assert spec.sweep is not None
    objectives(spec)
    space, base, probe = spec.sweep.space, spec.completed(), Probe(spec.sweep.space)
    _check_order(space)
    left, idle = set(options(space)), 0
    while left and idle < _PATIENCE:
        probe.params.clear()
        chosen = draw(space, probe, base)
        make_spec(with_values(values, chosen), f"sweep.space, {_told(probe.params)}")
        idle = 0 if left & probe.seen else idle + 1
        left -= probe.seen
    if left:
        name, value = min(left, key=str)
        raise ValueError(
            f"sweep.space: {name} is never {value!r}, since its condition never holds; a condition names a path of "
            "the spec, such as model.decoder.name, and the value that it has there"
        )


def open_sweep(values: dict[str, Any], *, again: bool = False) -> Sweep:
    """Begin a study, or join it.

    Args:
        values: The spec's plain values.
        again: Whether trials that failed are to be tried once more.

    Raises:
        ValueError: The space leads to a spec that is not valid, or the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = make_spec(values)
    assert spec.sweep is not None
    check_sweep(values, spec)
    # What decides what a trial is: more trials, seeds or time are more of the same study.
    search = spec.sweep.model_dump(mode="json", include={"space", "sampler"})
    told = [json.dumps(spec.completed(), sort_keys=True), search, list(objectives(spec).items()), spec.sweep.seeds > 0]
    name = f"{spec.name}-{sha256(json.dumps(told).encode()).hexdigest()[:12]}"
    directions = list(objectives(spec).values())
    try:
        folder = (_beside_sqlite(spec.sweep.storage) or store() / "sweeps") / name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            study = optuna.create_study(
                study_name=name,
                storage=open_storage(spec.sweep, folder),
                pruner=_pruner(spec.sweep, directions),
                directions=directions,
                load_if_exists=True,
            )
            study.set_user_attr("closed", False)
            if again:
                study.set_user_attr("forgiven", len(study.get_trials(deepcopy=False)))
    except Exception as error:
        if spec.sweep.storage is None:
            raise
        raise ValueError(
            f"sweep.storage cannot be opened ({type(error).__name__}: {error}); expected a URL as Optuna takes it, "
            "such as sqlite:///study.db, or with a driver installed postgresql+psycopg://user:password@host/db"
        ) from error
    return Sweep(values, spec, study, folder)


def sampler(sweep: Sweep, item: int) -> optuna.samplers.BaseSampler:
    """What draws one try of the search: the same whichever process does it."""
    seed = int(sha256(f"{sweep.spec.seed} {item}".encode()).hexdigest()[:8], 16)
    if sweep.search.sampler == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _check_order(space: Mapping[str, Node]) -> None:
    """See that no path sets anew what one before it has set, or what a condition before it has looked at."""
    paths = [(path, sets(path, node)) for path, node in space.items()]
    for at, (path, node) in enumerate(space.items()):
        for name, later in ((name, each) for name, theirs in paths[at:] for each in theirs):
            for mine in sets(path, node):
                if mine.startswith(f"{later}.") or (mine == later and name != path):
                    raise ValueError(f"sweep.space: {later} sets all of {mine} anew; put {later} before")
            for asked in conditions(node):
                # A plugin's name stands for its section.
                if f"{asked.removesuffix('.name')}.".startswith(f"{later.removesuffix('.name')}."):
                    raise ValueError(
                        f"sweep.space: a condition of {path} asks for {asked}, and {later} is not drawn before it; put "
                        f"{later} before {path}"
                    )


def _told(labels: dict[str, Any]) -> str:
    return ", ".join(f"{name}={label}" for name, label in labels.items())


def _beside_sqlite(storage: str | None) -> Path | None:
    """Where all who open a SQLite file find the same locks: it does not keep two from beginning one trial."""
    if not storage or not storage.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(storage).database
    return Path(f"{Path(database).resolve()}.locks") if database else None


def open_storage(search: SweepSpec, folder: Path) -> Any:
    """What Optuna keeps the study in: as the spec says, else a journal in the folder."""
    if search.storage:
        return search.storage
    backend = journal.JournalFileBackend(
        str(folder / "journal.log"),
        # Links are not to be had on every file system.
        lock_obj=journal.JournalFileOpenLock(str(folder / "journal.log")),
    )
    return optuna.storages.JournalStorage(backend)


def _pruner(search: SweepSpec, directions: list[Direction]) -> optuna.pruners.BasePruner:
    if search.pruner == "none" or len(directions) > 1 or not search.seeds:
        return optuna.pruners.NopPruner()  # what is compared in a table is trained to its end
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)  # never after the first epoch
