"""The loop of one process of a sweep: attempts until nothing is left."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from optuna import Trial as Attempt
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from idc_run.address import mask
from idc_run.console import Console
from idc_run.sweeps.latency import latency
from idc_run.sweeps.queue import busy, take
from idc_run.sweeps.study import LATENCY, Sweep
from idc_run.sweeps.trial import Pruned, Trial
from idc_run.tracking import parent
from idc_run.tracking.server import Outage
from idc_run.training import experiment

_POLL = 2.0  # seconds between checks of the other processes
_BEAT = 60.0  # seconds between heartbeats


def work(sweep: Sweep, console: Console) -> None:
    """Work on remaining items, including those of processes that died, and wait for the other processes.

    A failed trial is recorded with its cause, and the sweep continues.
    """
    worker, run = f"worker-{uuid.uuid4().hex}", _parent(sweep)
    ends = time.monotonic() + (sweep.search.timeout or float("inf"))
    with sweep.lock(worker):
        while True:
            if time.monotonic() > ends:
                sweep.study.set_user_attr("closed", True)
                ends = float("inf")  # close only once: another process may reopen the search
            others = busy(sweep)  # check first: an attempt that ends afterwards may leave work
            attempt = take(sweep, worker)
            if attempt is not None:
                with _alive(attempt):
                    _do(sweep, attempt, run, console)
            elif others:
                time.sleep(_POLL)
            else:
                break
    (sweep.folder / worker).unlink(missing_ok=True)


@contextmanager
def _alive(attempt: Attempt) -> Iterator[None]:
    """Send a heartbeat every minute, by which other machines see that the attempt is alive."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            try:
                attempt.set_user_attr("alive", time.time())
            except Exception:  # the storage may be unavailable for a while; a permanent failure ends the trial itself
                continue

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _do(sweep: Sweep, attempt: Attempt, run: str, console: Console) -> None:
    try:
        trial = Trial(sweep, attempt, run)
        console.say(trial.announcement())
        result = experiment.run(trial.spec, console, trial)
        assert result is not None
        for name, value in result.test.items():
            attempt.set_user_attr(f"test/{name}", value)
        at_best = trial.at_best | {f"val/{sweep.spec.eval.select}": result.best}
        names = list(sweep.objectives)
        values = [latency(result.checkpoint) if name == LATENCY else at_best[f"val/{name}"] for name in names]
        sweep.study.tell(attempt, values, skip_if_finished=True)
    except Pruned:
        sweep.study.tell(attempt, state=TrialState.PRUNED, skip_if_finished=True)
        console.say(f"trial {attempt.number}: pruned")
    except UpdateFinishedTrialError:
        console.say(f"trial {attempt.number}: another machine considered it dead and repeats it")
    except Outage:  # not the fault of the trial, and the next one would fail too
        sweep.study.tell(attempt, state=TrialState.FAIL, skip_if_finished=True)
        raise
    except Exception as error:  # whatever it is, the other trials continue
        with suppress(UpdateFinishedTrialError):
            attempt.set_user_attr("cause", mask(f"{type(error).__name__}: {error}")[:500])
        sweep.study.tell(attempt, state=TrialState.FAIL, skip_if_finished=True)
        console.say(mask(f"trial {attempt.number}: failed: {error}"))


def _parent(sweep: Sweep) -> str:
    """Return the MLflow run of the sweep, created by the first process; empty without tracking."""
    spec, study = sweep.spec, sweep.study
    if spec.tracking == "off":
        return ""
    with sweep.lock():
        if "run" not in study.user_attrs:
            # Exclude the storage, which may contain a password.
            search = sweep.search.model_dump(mode="json", exclude={"storage", "space"})
            space = sweep.search.model_dump(mode="json", include={"space"})
            run = parent.create(spec.name, f"test/{spec.eval.select}", study.study_name, search, space)
            study.set_user_attr("run", run)
            if sweep.search.storage:  # a machine without access to the lock may have created one, too
                time.sleep(_POLL)
                if study.user_attrs["run"] != run:
                    parent.delete(run)
        run = study.user_attrs["run"]
        parent.plan(run, len(sweep.tries))
        return run
