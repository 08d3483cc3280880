"""Reads MLflow runs: their documents, their files, and the trials of sweeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idc_run.tracking.parent import PARENT, PLANNED
from idc_run.tracking.store import connect, look_into


@dataclass(frozen=True)
class Finished:
    """A finished MLflow run: tags and parameters as text, and the last value of each metric."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def folder(run: str) -> Path:
    """Return the folder with the artifacts of a run; from a server they are fetched first.

    Args:
        run: The MLflow run id.

    Raises:
        ValueError: There is no such run.
    """
    found = _run(run)
    return Path(connect().artifacts.download_artifacts(artifact_uri=found.info.artifact_uri))


def names(run: str) -> list[str]:
    """List the files of a run.

    Raises:
        ValueError: There is no such run.
    """
    _run(run)
    return [item.path for item in connect().MlflowClient().list_artifacts(run)]


def document(run: str, name: str) -> dict[str, Any] | None:
    """Read a document written by `Tracker.json`; None if the run has none of this name.

    Raises:
        ValueError: There is no such run.
    """
    if f"{name}.json" not in names(run):
        return None
    return connect().artifacts.load_dict(f"{_run(run).info.artifact_uri}/{name}.json")


def trials() -> list[Finished]:
    """Find the finished trials of all sweeps, the newest first; their tag `sweep` is the name of the study."""
    found = look_into().search_runs(
        search_all_experiments=True,
        filter_string="attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    runs = [Finished(run.data.tags, run.data.params, run.data.metrics) for run in found]
    return [run for run in runs if "chosen" in run.tags]


def planned(trial: Finished) -> int | None:
    """Return the planned number of trials of this trial's sweep; None if it was not recorded."""
    parent = trial.tags.get(PARENT)
    told = connect().get_run(parent).data.tags.get(PLANNED) if parent else None
    return int(told) if told else None


def _run(run: str) -> Any:
    mlflow = look_into()
    try:
        return mlflow.get_run(run)
    except mlflow.exceptions.MlflowException as error:
        if error.get_http_status_code() not in (400, 404):
            raise
        raise ValueError(f"MLflow has no run {run!r} at {mlflow.get_tracking_uri()}: {error}") from error
