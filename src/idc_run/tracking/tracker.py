"""Where a run is written down, behind seven verbs: begin, metrics, artifact, json, tag, where, end."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal


class Tracker:
    """Where a run is written down; this one, of `tracking: off`, writes nothing."""

    def begin(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        datasets: Mapping[str, tuple[str, str]],
        run_id: str = "",
    ) -> str:
        """Start a run, or go on with the one called `run_id`; gives its id.

        `params` may be nested; `datasets` holds the name and the identity of each split.
        """
        return run_id or uuid.uuid4().hex

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write metrics down."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file with the run."""

    def json(self, documents: Mapping[str, Any]) -> None:
        """Keep plain values with the run, each in a file NAME.json."""

    def tag(self, name: str, value: str) -> None:
        """Set one tag of the run."""

    def where(self) -> str:
        """Give the folder or address of what is kept with the run; empty if nothing is."""
        return ""

    def end(self, status: str = "FINISHED", why: str = "") -> None:
        """Close the run: `FINISHED`, `FAILED` or `KILLED`, and why it did not finish."""


class Ended(Exception):
    """A run ends before its time, and nothing is wrong: MLflow shows it as killed, not as failed."""


def open_tracker(kind: Literal["mlflow", "off"], experiment: str, key_metric: str) -> Tracker:
    """Give the tracker that a spec's `tracking` names; the other arguments are those of `MlflowTracker`."""
    from idc_run.tracking.mlflow_tracker import MlflowTracker  # which extends the one above

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
    """Begin a run, or go on with one, and end it whatever happens; gives its id. The arguments are those of `begin`."""
    try:
        yield tracker.begin(name, params, tags, datasets, run_id)
        tracker.end()
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt | Ended) else "FAILED"
        tracker.end(status, " ".join(f"{type(error).__name__}: {error}".split()))
        raise
