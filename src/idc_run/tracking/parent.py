"""The MLflow run of a sweep: the parent of its trials, written by any process of the sweep."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from idc_run.tracking.mlflow_tracker import MlflowTracker, flatten
from idc_run.tracking.store import connect

PARENT = "mlflow.parentRunId"
"""Tag of a trial's run: the id of the sweep's run."""

PLANNED = "sweep.planned"
"""Tag of a sweep's run: the planned number of trials."""


def create(experiment: str, key_metric: str, study: str, search: Mapping[str, Any], space: Mapping[str, Any]) -> str:
    """Create the run of a sweep; return its id.

    Args:
        experiment: The MLflow experiment, named after the sweep.
        key_metric: The primary metric of its charts.
        study: The name of the study.
        search: The search settings.
        space: The search space, logged as a file because its names may be invalid as parameters.
    """
    client = connect().MlflowClient()
    where = MlflowTracker(experiment, key_metric).experiment
    run = client.create_run(where, run_name=f"sweep: {experiment}").info.run_id
    client.set_tag(run, "sweep", study)
    for name, value in flatten(search).items():
        client.log_param(run, f"sweep.{name}", value)
    client.log_dict(run, dict(space), "space.json")
    return run


def plan(run: str, trials: int) -> None:
    """Record the planned number of trials."""
    connect().MlflowClient().set_tag(run, PLANNED, str(trials))


def delete(run: str) -> None:
    """Delete a redundant run of a sweep."""
    connect().MlflowClient().delete_run(run)


def finish(run: str, folder: Path, metrics: Mapping[str, float]) -> None:
    """Log the files of a folder and the metrics, and end the run."""
    client = connect().MlflowClient()
    for path in sorted(folder.iterdir()):
        client.log_artifact(run, str(path))
    for name, value in metrics.items():
        client.log_metric(run, name, value)
    client.set_terminated(run)


def fail(run: str) -> None:
    """Mark the run of a sweep as failed."""
    connect().MlflowClient().set_terminated(run, "FAILED")


def give_up(run: str) -> None:
    """Mark the run of a killed trial as failed, unless it is in another store or was deleted."""
    mlflow = connect()
    with suppress(mlflow.exceptions.MlflowException):
        mlflow.MlflowClient().set_terminated(run, "FAILED")
