"""A sweep: an Optuna study that any number of processes and machines share."""

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
_PATIENCE = 100  # draws without a new value after which the rest counts as unreachable


@dataclass(frozen=True)
class Sweep:
    """An open sweep.

    Attributes:
        values: The spec's plain values, including `sweep`.
        spec: The validated spec.
        study: The Optuna study.
        folder: The folder for locks and the journal; next to the SQLite file, if there is one.
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
        """The objectives and their directions."""
        return objectives(self.spec)

    @cached_property
    def tries(self) -> list[dict[str, Any]]:
        """The given parameters of each try: those of a cell in a grid, otherwise none."""
        grid = self.search.sampler == "grid"
        return list(cells(self.search.space)) if grid else [{} for _ in range(self.search.trials)]

    def chosen(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the values of a trial by path; draw those that are not given."""
        return draw(self.search.space, trial, self.spec.completed())

    def best(self) -> FrozenTrial:
        """Return the best trial of the search by the first objective.

        Raises:
            ValueError: No trial has completed; the message says why the last one failed.
        """
        complete = [trial for trial in self.searched() if trial.state == TrialState.COMPLETE]
        if not complete:
            causes = [trial.user_attrs["cause"] for trial in self.searched() if "cause" in trial.user_attrs]
            raise ValueError(
                f"no trial of the sweep completed; the last one: {causes[-1] if causes else 'its process died'}; "
                "run the same command with --resume to retry them"
            )
        up = next(iter(self.objectives.values())) == "maximize"
        return max(complete, key=lambda trial: trial.values[0] if up else -trial.values[0])

    def searched(self) -> list[FrozenTrial]:
        """Return the trials of the search, without repetitions of the best one."""
        return [trial for trial in self.trials() if isinstance(trial.user_attrs.get("item"), int)]

    def trials(self) -> list[FrozenTrial]:
        """Return the current state of all trials."""
        return self.study.get_trials(deepcopy=False)

    def lock(self, name: str = "lock") -> FileLock:
        """Return a lock that one process of this machine can hold; it is released when the process dies."""
        return FileLock(self.folder / name)


def objectives(spec: Spec) -> dict[str, Direction]:
    """Return the objectives of a sweep and their directions.

    Raises:
        ValueError: An objective is not computed in validation.
    """
    assert spec.sweep is not None
    chosen: dict[str, Direction] = dict(spec.sweep.objectives) or {spec.eval.select: "maximize"}
    known = {*metric_names(spec.eval.metrics), LATENCY} - {"meteor"} | {spec.eval.select}
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(
            f"sweep.objectives has {unknown[0]!r}, which is not computed in validation; expected some of: "
            f"{', '.join(sorted(known))}"
        )
    return chosen


def check_sweep(values: dict[str, Any], spec: Spec) -> None:
    """Draw from the space until every choice and both ends of every range have come up; each draw must be a valid spec.

    Raises:
        ValueError: A draw is invalid, a condition never holds, or an objective is not computed.
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
            f"sweep.space: {name} is never {value!r}, because its condition never holds; a condition is a path of the "
            "spec, such as model.decoder.name, and its required value"
        )


def open_sweep(values: dict[str, Any], *, again: bool = False) -> Sweep:
    """Create or join the study of a sweep.

    Args:
        values: The spec's plain values.
        again: Whether to retry failed trials.

    Raises:
        ValueError: The space contains an invalid spec, or the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = make_spec(values)
    assert spec.sweep is not None
    check_sweep(values, spec)
    # The identity of the study: more trials, seeds or time continue the same study.
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
            f"sweep.storage cannot be opened ({type(error).__name__}: {error}); expected an Optuna URL such as "
            "sqlite:///study.db or, with its driver installed, postgresql+psycopg://user:password@host/db"
        ) from error
    return Sweep(values, spec, study, folder)


def sampler(sweep: Sweep, item: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one try, which draws the same values in any process."""
    seed = int(sha256(f"{sweep.spec.seed} {item}".encode()).hexdigest()[:8], 16)
    if sweep.search.sampler == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _check_order(space: Mapping[str, Node]) -> None:
    """Check that no path overwrites what an earlier one has set, or what an earlier condition depends on."""
    paths = [(path, sets(path, node)) for path, node in space.items()]
    for at, (path, node) in enumerate(space.items()):
        for name, later in ((name, each) for name, theirs in paths[at:] for each in theirs):
            for mine in sets(path, node):
                if mine.startswith(f"{later}.") or (mine == later and name != path):
                    raise ValueError(f"sweep.space: {later} overwrites {mine}; put {later} before it")
            for asked in conditions(node):
                # A plugin's name stands for its section.
                if f"{asked.removesuffix('.name')}.".startswith(f"{later.removesuffix('.name')}."):
                    raise ValueError(
                        f"sweep.space: a condition of {path} depends on {asked}, but {later} is drawn later; put "
                        f"{later} before {path}"
                    )


def _told(labels: dict[str, Any]) -> str:
    return ", ".join(f"{name}={label}" for name, label in labels.items())


def _beside_sqlite(storage: str | None) -> Path | None:
    """Return the folder for locks next to a SQLite file, which alone does not prevent two from starting one trial."""
    if not storage or not storage.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(storage).database
    return Path(f"{Path(database).resolve()}.locks") if database else None


def open_storage(search: SweepSpec, folder: Path) -> Any:
    """Return Optuna's storage: that of the spec, or else a journal in the folder."""
    if search.storage:
        return search.storage
    backend = journal.JournalFileBackend(
        str(folder / "journal.log"),
        # Not every file system supports links.
        lock_obj=journal.JournalFileOpenLock(str(folder / "journal.log")),
    )
    return optuna.storages.JournalStorage(backend)


def _pruner(search: SweepSpec, directions: list[Direction]) -> optuna.pruners.BasePruner:
    if search.pruner == "none" or len(directions) > 1 or not search.seeds:
        return optuna.pruners.NopPruner()  # trials that a table compares are trained to the end
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)  # never after the first epoch
