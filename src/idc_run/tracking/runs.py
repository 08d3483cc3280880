"""Runs of MLflow as folders, for commands that read what a run has left: `idc-eval report RUN` and its like."""

from pathlib import Path

from idc_run.tracking.tracker import connect


def folder(run: str) -> Path:
    """The folder with the artifacts of a run; from a server they are fetched first.

    Args:
        run: An id, as the MLflow UI shows it.

    Raises:
        ValueError: There is no such run.
    """
    mlflow = connect()
    try:
        found = mlflow.get_run(run)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=found.info.artifact_uri))
    except mlflow.exceptions.MlflowException as error:
        if error.get_http_status_code() not in (400, 404):
            raise
        raise ValueError(f"MLflow has no run {run!r} at {mlflow.get_tracking_uri()}: {error}") from error
