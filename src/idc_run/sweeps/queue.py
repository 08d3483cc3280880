"""The work queue of a sweep: processes take items independently, and each may die at any moment.

A sweep is a list of items: the tries of its search by number, then repetitions of the best one by seed. A trial of the
study is one attempt at an item. An item is done when an attempt has ended, has failed with a cause, or when its
processes keep dying. All state is in the study, so machines that share nothing else agree. If two of them begin the
same item at the same time, the attempt with the lower number counts.
"""

import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress

from filelock import Timeout
from optuna import Trial
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from idc_run.sweeps.study import Sweep, sampler

SILENT = 600.0
"""Seconds without a heartbeat, sent every minute, after which a trial on another machine counts as dead."""

_DEATHS = 3  # an item fails after this many deaths without a further epoch
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)

Item = int | str
"""The number of a try, or `again 12, seed 1`: the best trial's number, and the offset to the spec's seed."""


def take(sweep: Sweep, worker: str) -> Trial | None:
    """Begin the next item that no process has taken; None if there is none now.

    Args:
        sweep: The sweep.
        worker: The name of a lock that the process holds while it lives.
    """
    with sweep.lock():
        while True:
            for trial in sweep.trials():
                if trial.state == TrialState.RUNNING and _dead(sweep, trial):
                    with suppress(ValueError, UpdateFinishedTrialError):  # another machine did it first
                        sweep.study.tell(trial.number, state=TrialState.FAIL)
            item = next(iter(_open(sweep, _attempts(sweep))), None)
            if item is None:
                return None
            trial = _begin(sweep, item, worker)
            if trial is not None:
                return trial


def busy(sweep: Sweep) -> bool:
    """Return whether an attempt is in progress."""
    return any(trial.state == TrialState.RUNNING for trial in sweep.trials())


def seed_of(item: Item) -> int | None:
    """Return the seed offset of an item that repeats the best trial; None for a try of the search."""
    return int(item.rpartition(" ")[2]) if isinstance(item, str) else None


def again(best: FrozenTrial, seed: int) -> str:
    """Return the item that repeats the best trial with another seed."""
    return f"again {best.number}, seed {seed}"  # with its number, because a continued search may find another best


def _open(sweep: Sweep, attempts: Mapping[Item, list[FrozenTrial]]) -> list[Item]:
    """Return the items that may be begun now, in order."""
    done = {item for item, made in attempts.items() if _done(made, sweep.study.user_attrs.get("forgiven", 0))}
    begun = {item for item, made in attempts.items() if any(each.state == TrialState.RUNNING for each in made)}
    tries = set(range(len(sweep.tries)))
    if tries - done and not sweep.study.user_attrs.get("closed"):  # closed: the timeout has passed
        return sorted(tries - done - begun)
    complete = any(trial.state == TrialState.COMPLETE for trial in sweep.searched())
    if not complete or tries & begun:
        return []
    wanted = [again(sweep.best(), seed) for seed in range(sweep.search.seeds)]
    return [item for item in wanted if item not in done | begun]


def _begin(sweep: Sweep, item: Item, worker: str) -> Trial | None:
    """Make an attempt; None if another machine made one first."""
    attempts = _attempts(sweep).get(item, [])
    if not any(each.state == TrialState.WAITING for each in attempts):
        params = sweep.tries[item] if isinstance(item, int) else sweep.best().params
        told = {"item": item}
        if attempts:  # the previous one died or failed; continue from its checkpoint
            last = attempts[-1]
            run = last.user_attrs.get("run") or last.user_attrs.get("goes_on")
            params, told = params | last.params, told | {"retry_of": last.number, "goes_on": run}
        sweep.study.enqueue_trial(params, user_attrs=told)
    trial = sweep.study.ask()  # the oldest waiting trial, perhaps left by a killed process
    signs = {"worker": worker, "place": _place(sweep), "alive": time.time()}
    for name, value in signs.items():
        trial.set_user_attr(name, value)
    mine = trial.user_attrs.get("item")
    before = {other: [each for each in made if each.number < trial.number] for other, made in _attempts(sweep).items()}
    if mine not in _open(sweep, before):
        trial.set_user_attr("twice", True)
        sweep.study.tell(trial, state=TrialState.FAIL)
        return None
    if isinstance(mine, int):
        sweep.study.sampler = sampler(sweep, mine)  # used when the trial draws its values
    return trial


def _attempts(sweep: Sweep) -> dict[Item, list[FrozenTrial]]:
    """Return the trials of each item, without those begun twice."""
    found: dict[Item, list[FrozenTrial]] = {}
    for trial in sweep.trials():
        item = trial.user_attrs.get("item")
        if item is not None and "twice" not in trial.user_attrs:
            found.setdefault(item, []).append(trial)
    return found


def _done(attempts: Sequence[FrozenTrial], forgiven: int) -> bool:
    """Return whether an attempt has ended, or those from number `forgiven` on rule out another."""
    furthest, deaths = 0, 0
    for each in attempts:
        if each.state in _ENDED:
            return True
        if each.state != TrialState.FAIL or each.number < forgiven:
            continue
        if "cause" in each.user_attrs:
            return True
        epoch = each.user_attrs.get("epoch", 0)
        furthest, deaths = (epoch, 1) if epoch > furthest else (furthest, deaths + 1)
    return deaths >= _DEATHS


def _dead(sweep: Sweep, trial: FrozenTrial) -> bool:
    if trial.user_attrs.get("place") != _place(sweep):
        began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return time.time() - trial.user_attrs.get("alive", began) > SILENT
    lock = sweep.lock(trial.user_attrs["worker"])
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def _place(sweep: Sweep) -> str:
    """Return an identifier of the place where locks are visible: this machine and this folder."""
    mark = sweep.folder / "place"
    if not mark.is_file():
        mark.write_text(uuid.uuid4().hex)
    return f"{socket.gethostname()}:{mark.read_text()}"
