"""The tracker for MLflow."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from idc_run.address import mask
from idc_run.tracking.server import impatient
from idc_run.tracking.store import connect, embedded, store
from idc_run.tracking.tracker import Tracker

_KEY_METRIC, _KIND = "mlflow.experiment.primaryMetric.name", "mlflow.experimentKind"
"""Tags of an experiment that tell the UI its primary metric, and that it holds model training, not prompts."""

WHY = "failure"
"""Tag of a failed run with the reason in one line."""
_LONGEST_TAG = 500


class MlflowTracker(Tracker):
    """Logs to the MLflow server at MLFLOW_TRACKING_URI, or to the embedded store in `mlruns/` if that is not set.

    Args:
        experiment: The MLflow experiment, created if missing; it groups runs with comparable scores.
        key_metric: The primary metric of its charts.
    """

    def __init__(self, experiment: str, key_metric: str = "") -> None:
        mlflow = connect()
        found = mlflow.get_experiment_by_name(experiment)
        if found is None:
            # A server has its own artifact location.
            artifacts = (store() / "artifacts").as_uri() if mlflow.get_tracking_uri() == embedded() else None
            try:
                mlflow.create_experiment(experiment, artifact_location=artifacts)
            except mlflow.exceptions.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process created it first
                    raise
            found = mlflow.get_experiment_by_name(experiment)
        if found.lifecycle_stage == "deleted":
            number = found.experiment_id
            raise ValueError(
                f"the MLflow experiment {experiment!r}, number {number}, was deleted: restore it with `mlflow "
                f"experiments restore -x {number}`, or delete it and its runs permanently with `mlflow gc "
                f"--experiment-ids {number}`"
            )
        self.experiment = found.experiment_id
        wanted = {_KIND: "custom_model_development", _KEY_METRIC: key_metric} if key_metric else {}
        for tag in wanted.keys() - found.tags.keys():
            mlflow.MlflowClient().set_experiment_tag(self.experiment, tag, wanted[tag])
        self._mlflow = mlflow
        self._logged: set[tuple[str, int, float]] = set()

    def begin(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        datasets: Mapping[str, tuple[str, str]],
        run_id: str = "",
    ) -> str:
        """Start a run with its parameters, tags and datasets, or resume an unfinished one."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.tracking.context.registry import resolve_tags

        if run_id:
            self._check_kept(run_id)
        run = self._mlflow.start_run(
            run_id=run_id or None,
            experiment_id=None if run_id else self.experiment,
            run_name=None if run_id else name,
            # MLflow's own tags; the address of a git remote may contain a token.
            tags=None if run_id else {key: mask(str(value)) for key, value in resolve_tags().items()},
            log_system_metrics=True,
        )
        if run_id:
            client = self._mlflow.MlflowClient()
            if WHY in run.data.tags:
                client.delete_tag(run_id, WHY)
            history = client.get_metric_history
            self._logged = {
                (name, point.step, point.value)
                for name in run.data.metrics
                if not name.startswith("system/")
                for point in history(run_id, name)
            }
        else:
            self._mlflow.log_params(flatten(params))
            self._mlflow.set_tags(dict(tags))
            for split, (dataset, digest) in datasets.items():
                source = CodeDatasetSource(tags={"split": split})
                self._mlflow.log_input(MetaDataset(source, name=dataset, digest=digest), context=split)
        return run.info.run_id

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics at a step, except those that a resumed run logged before it was killed."""
        new = {name: value for name, value in values.items() if (name, step, value) not in self._logged}
        if new:
            self._mlflow.log_metrics(new, step=step)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Log a file."""
        self._mlflow.log_artifact(str(path), folder or None)

    def json(self, documents: Mapping[str, Any]) -> None:
        """Log plain values."""
        for name, value in documents.items():
            self._mlflow.log_text(json.dumps(value, indent=2), f"{name}.json")

    def tag(self, name: str, value: str) -> None:
        """Set a tag."""
        self._mlflow.set_tag(name, value)

    def where(self) -> str:
        """Return the artifact location of the active run."""
        return self._mlflow.active_run().info.artifact_uri.removeprefix("file://")

    def end(self, status: str = "FINISHED", why: str = "") -> None:
        """End the run; if the server still answers, the reason of a failure becomes a tag. Never raises on failures."""
        if status == "FINISHED":
            self._mlflow.end_run(status)
            return
        with impatient():
            if why:
                with suppress(Exception):
                    self._mlflow.set_tag(WHY, mask(why)[:_LONGEST_TAG])
            with suppress(Exception):
                self._mlflow.end_run(status)

    def _check_kept(self, run_id: str) -> None:
        """Check that the run to resume exists.

        Raises:
            ValueError: The run was deleted, or is in another store.
        """
        where, again = mask(self._mlflow.get_tracking_uri()), "omit --resume to start a new run"
        try:
            found = self._mlflow.get_run(run_id).info
        except self._mlflow.exceptions.MlflowException as error:
            if error.get_http_status_code() != 404:
                raise
            message = f"MLflow at {where} has no run {run_id!r}, to which the checkpoint belongs; {again}"
            raise ValueError(message) from error
        if found.lifecycle_stage == "deleted":
            raise ValueError(
                f"the MLflow run {run_id!r}, to which the checkpoint belongs, was deleted: restore it with `mlflow "
                f"runs restore --run-id {run_id}`; or {again}"
            )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested sections to `{dotted.path: value}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
