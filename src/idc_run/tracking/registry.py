"""The model registry: registers checkpoints as MLflow models from code, and finds them again."""

import atexit
import base64
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from idc_data.tokenizers import tokenizer_name
from PIL import Image

import idc_run
from idc_run.checkpoint import load_checkpoint, save_checkpoint
from idc_run.tracking import note
from idc_run.tracking.champion import Standing, crown
from idc_run.tracking.packing import imported, pack, requirements
from idc_run.tracking.scoring import signature
from idc_run.tracking.store import connect, embedded, look_into

NAME = "captioner"
"""Name of the model among the artifacts of its run."""

_ALIAS = re.compile(r"models:/([^/@]+)@(.+)")


def register(checkpoint: Path, model: str, standing: Standing, about: str = "") -> tuple[str, str]:
    """Log the checkpoint with the active run, register it, and make it the champion if it is better.

    Steps that a killed process completed for the same run are not repeated.

    Args:
        checkpoint: A safetensors file.
        model: Name in the registry.
        standing: Its validation score, and with which scores it is comparable.
        about: The description of the run, for the version's page in the UI.

    Returns:
        The new version, and a sentence about the champion.
    """
    mlflow = connect()
    client, run = mlflow.MlflowClient(), mlflow.active_run().info
    tags = standing.tags() | {"source_run": run.run_id}
    found = client.search_model_versions(f"name = '{model}' and run_id = '{run.run_id}'")
    if found:
        version = found[0]
        for key in tags.keys() - version.tags.keys():
            client.set_model_version_tag(model, version.version, key, tags[key])
    else:
        logged = _logged(client, run) or _log(mlflow, checkpoint)
        _ensure(mlflow, client, model)
        version = client.create_model_version(model, f"models:/{logged}", run.run_id, tags, model_id=logged)
    number = str(version.version)
    client.update_model_version(model, number, note.of_version(about, f"models:/{model}/{number}"))
    if not client.get_registered_model(model).description:  # keep a description that people have written
        client.update_registered_model(model, note.of_model(model))
    return number, crown(client, model, number, standing)


def _log(mlflow: Any, checkpoint: Path) -> str:
    with packaged(checkpoint) as package:
        return mlflow.pyfunc.log_model(name=NAME, **package).model_id


def _logged(client: Any, run: Any) -> str | None:
    """Return the model that the run has already logged; delete an incomplete one."""
    whole = None
    for logged in client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'"):
        if logged.name == NAME and logged.status == "READY":
            whole = logged.model_id
        elif logged.name == NAME:
            client.delete_logged_model(logged.model_id)
    return whole


def _ensure(mlflow: Any, client: Any, model: str) -> None:
    """Create the registered model if it does not exist."""
    try:
        client.create_registered_model(model)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def packaged(checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Yield the arguments with which MLflow logs or saves a model from code, with everything needed to serve it."""
    held = load_checkpoint(checkpoint, weights=False)
    with tempfile.TemporaryDirectory() as name:
        code, constraints = Path(name) / "code", Path(name) / "constraints.txt"
        parts = held.spec.model, tokenizer_name(held.tokenizer)
        pins, every_pin = requirements(pack(parts[0], code, parts[1]), "mlflow", "pandas", *imported(*parts))
        constraints.write_text("\n".join(every_pin))
        if held.frozen:  # the frozen weights may be unavailable where the model is served
            complete = load_checkpoint(checkpoint).self_contained()
            checkpoint = Path(name) / checkpoint.name
            save_checkpoint(checkpoint, complete)
        yield {
            "python_model": str(Path(idc_run.__file__).parent / "serving" / "served_model.py"),
            "artifacts": {"checkpoint": str(checkpoint)},
            "code_paths": [str(path) for path in sorted(code.iterdir())],
            "signature": signature(held),
            "input_example": _example(),
            "pip_requirements": [*pins, f"-c {constraints}"],
        }


def checkpoint_of(model: str) -> Path:
    """Find the checkpoint behind a `models:/` URI, for `idc_models.loading`.

    Raises:
        ValueError: There is no registry, it has no such model, or the model is not of this project.
    """
    mlflow = look_into(f"no registered model {model!r}")
    try:
        folder = _folder(mlflow, model)
    except mlflow.exceptions.MlflowException as error:
        if error.get_http_status_code() not in (400, 404):
            raise
        raise ValueError(f"no registered model {model!r} ({error.message}); train one with idc-run first") from error
    found = next(folder.glob("artifacts/*.safetensors"), None)
    if found is None:
        raise ValueError(f"{model!r} holds no checkpoint; expected a model registered by idc-run")
    return found


def _folder(mlflow: Any, model: str) -> Path:
    """Return the folder of a registered model; files of a server are fetched once, and removed on exit."""
    server = mlflow.get_tracking_uri()
    if server == embedded():
        return Path(mlflow.artifacts.download_artifacts(model))
    if alias := _ALIAS.fullmatch(model):  # which may move, so resolve it every time
        version = mlflow.MlflowClient().get_model_version_by_alias(*alias.groups()).version
        model = f"models:/{alias[1]}/{version}"
    if model.rpartition("/")[2].isdecimal():
        return _fetched_once(server, model)
    return _fetched(model)


@cache
def _fetched_once(server: str, version: str) -> Path:
    return _fetched(version)


def _fetched(model: str) -> Path:
    folder = tempfile.mkdtemp(prefix="idc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(connect().artifacts.download_artifacts(model, dst_path=folder))


def _example() -> tuple[Any, dict[str, int]]:
    """Return an example request with one pair of tiny images, stored with the model."""
    import pandas as pd

    picture = io.BytesIO()
    Image.new("RGB", (16, 16), "gray").save(picture, "PNG")
    text = base64.b64encode(picture.getvalue()).decode()
    return pd.DataFrame({"before": [text], "after": [text]}), {"beam": 3, "num_captions": 3}
