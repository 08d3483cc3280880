"""The interface for recording a run: begin, metrics, artifact, json, tag, where, end."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal


class Tracker:
    """Records a run; this base class, used for `tracking: off`, records nothing."""

    def begin(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        datasets: Mapping[str, tuple[str, str]],
        run_id: str = "",
    ) -> str:
        """Start a run, or resume the run `run_id`; return its id.

        `params` may be nested; `datasets` holds the name and the identity of each split.
        """
        return run_id or uuid.uuid4().hex

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics at a step."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Store a file with the run."""

    def json(self, documents: Mapping[str, Any]) -> None:
        """Store plain values with the run, each in a file NAME.json."""

    def tag(self, name: str, value: str) -> None:
        """Set one tag of the run."""

    def where(self) -> str:
        """Return the folder or address of the run's files; empty if there is none."""
        return ""

    def end(self, status: str = "FINISHED", why: str = "") -> None:
        """End the run with status `FINISHED`, `FAILED` or `KILLED`, and the reason if it did not finish."""


class Ended(Exception):
    """A run ends early on purpose; MLflow shows it as killed, not as failed."""


def open_tracker(kind: Literal["mlflow", "off"], experiment: str, key_metric: str) -> Tracker:
    """Return the tracker for a spec's `tracking` setting; the other arguments are those of `MlflowTracker`."""
    from idc_run.tracking.mlflow_tracker import MlflowTracker  # imported here because it extends Tracker

    return MlflowTracker(experiment, key_metric) if kind == "mlflow" else Tracker()


@contextmanager
def recording(
    tracker: Tracker,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Mapping[str, tuple[str, str]],
    run_id: str = "",
) -> Iterator[str]:
    """Begin or resume a run, yield its id, and end it whatever happens. The arguments are those of `begin`."""
    try:
        yield tracker.begin(name, params, tags, datasets, run_id)
        tracker.end()
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt | Ended) else "FAILED"
        tracker.end(status, " ".join(f"{type(error).__name__}: {error}".split()))
        raise
