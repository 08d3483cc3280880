"""The run of a whole sweep in MLflow: its trials lie below it, and any process of the sweep may write to it."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from idc_run.tracking.mlflow_tracker import MlflowTracker, flatten
from idc_run.tracking.store import connect

PARENT = "mlflow.parentRunId"
"""Tag of a trial's run: the id of the sweep's."""

PLANNED = "sweep.planned"
"""Tag of a sweep's run: how many trials it was to have."""


def create(experiment: str, key_metric: str, study: str, search: Mapping[str, Any], space: Mapping[str, Any]) -> str:
    """Make the run of a sweep; gives its id.

    Args:
        experiment: MLflow's experiment, which has the sweep's name.
        key_metric: What its charts show first.
        study: The name of the study.
        search: How it is searched.
        space: What is searched; a name in it may be none for a parameter.
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
    """Write down how many trials the sweep is to have."""
    connect().MlflowClient().set_tag(run, PLANNED, str(trials))


def delete(run: str) -> None:
    """Delete the run of a sweep that has another one already."""
    connect().MlflowClient().delete_run(run)


def finish(run: str, folder: Path, metrics: Mapping[str, float]) -> None:
    """Keep the files of a folder and the metrics with the run, and end it."""
    client = connect().MlflowClient()
    for path in sorted(folder.iterdir()):
        client.log_artifact(run, str(path))
    for name, value in metrics.items():
        client.log_metric(run, name, value)
    client.set_terminated(run)


def fail(run: str) -> None:
    """End the run of a sweep without a result."""
    connect().MlflowClient().set_terminated(run, "FAILED")


def give_up(run: str) -> None:
    """End the run of a trial whose process was killed, unless it is another machine's or was deleted."""
    mlflow = connect()
    with suppress(mlflow.exceptions.MlflowException):
        mlflow.MlflowClient().set_terminated(run, "FAILED")
