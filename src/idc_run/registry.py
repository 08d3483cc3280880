"""The model registry: the best checkpoint as an MLflow model from code, and the `champion` alias."""

import base64
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

import idc_run
from idc_run.checkpoint import load_checkpoint
from idc_run.packing import pack, requirements
from idc_run.track import connect, quiet_mlflow

ALIAS = "champion"


@dataclass(frozen=True)
class Standing:
    """What the champion is chosen by: scores compare only where all but the value agree."""

    metric: str
    protocol: str
    data: str
    value: float

    def tags(self) -> dict[str, str]:
        """As tags of a model version."""
        return {"metric": self.metric, "protocol": self.protocol, "data": self.data, "score": repr(self.value)}


def register(checkpoint: Path, model: str, standing: Standing) -> tuple[str, str]:
    """Log the checkpoint with the active run, register it, and let `champion` point to it if it is better.

    Args:
        checkpoint: A safetensors file.
        model: Name in the registry.
        standing: Its validation score and what that is comparable with.

    Returns:
        The new version, and one sentence on what became of the champion.
    """
    mlflow = connect()
    with packaged(checkpoint) as package:
        logged = mlflow.pyfunc.log_model(name="captioner", registered_model_name=model, **package)
    number = str(logged.registered_model_version)
    client = mlflow.MlflowClient()
    for key, value in standing.tags().items():
        client.set_model_version_tag(model, number, key, value)
    client.set_model_version_tag(model, number, "source_run", logged.run_id)
    return number, _crown(client, model, number, standing)


@contextmanager
def packaged(checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Give what MLflow is told of a model, to log or to save it: from code, with all that it needs to be served."""
    held = load_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as name:
        code, constraints = Path(name) / "code", Path(name) / "constraints.txt"
        pins, every_pin = requirements(pack(held.spec.model, code), "mlflow", "pandas")
        constraints.write_text("\n".join(every_pin))
        yield {
            "python_model": str(Path(idc_run.__file__).with_name("serving_model.py")),
            "artifacts": {"checkpoint": str(checkpoint)},
            "code_paths": [str(path) for path in sorted(code.iterdir())],
            "signature": _signature(beam=held.spec.eval.beam, max_length=held.tokenizer.max_length - 1),
            "input_example": _example(),
            "pip_requirements": [*pins, f"-c {constraints}"],
        }


def checkpoint_of(model: str) -> Path:
    """Find the checkpoint behind a `models:/` URI, for `idc_models.loading`.

    Raises:
        ValueError: The registry has no such model, or it is none of this project's.
    """
    mlflow = connect()
    from mlflow.exceptions import MlflowException

    try:
        folder = mlflow.artifacts.download_artifacts(model)
    except MlflowException as error:
        raise ValueError(f"no registered model {model!r} ({error.message}); train one with idc-run first") from error
    found = next(Path(folder).glob("artifacts/*.safetensors"), None)
    if found is None:
        raise ValueError(f"{model!r} holds no checkpoint; expected a model that idc-run has registered")
    return found


def scoring_model(checkpoint: Path) -> Any:
    """Load a checkpoint as MLflow's server loads a registered one; nothing is registered.

    Raises:
        ValueError: It is no checkpoint.
    """
    mlflow = quiet_mlflow()
    held = load_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as name:
        mlflow.pyfunc.save_model(
            f"{name}/model",
            python_model=str(Path(idc_run.__file__).with_name("serving_model.py")),
            artifacts={"checkpoint": str(checkpoint)},
            signature=_signature(beam=held.spec.eval.beam, max_length=held.tokenizer.max_length - 1),
            input_example=_example(),
            pip_requirements=[],  # it runs here
        )
        return mlflow.pyfunc.load_model(f"{name}/model")


def _crown(client: Any, model: str, number: str, standing: Standing) -> str:
    old = client.get_registered_model(model).aliases.get(ALIAS)
    if old is None:
        _move(client, model, number, None)
        return f"{model} version {number} is the first {ALIAS}"
    tags = client.get_model_version(model, old).tags
    mine = standing.tags()
    if any(tags.get(key) != mine[key] for key in ("metric", "protocol", "data")):
        return (
            f"{ALIAS} stays version {old}: it was validated on other data or by another protocol, so scores do not "
            f"compare; to move it: MlflowClient().set_registered_model_alias({model!r}, {ALIAS!r}, {number!r})"
        )
    if standing.value <= float(tags["score"]):
        return f"{ALIAS} stays version {old}: {standing.metric} {float(tags['score']):.4f} >= {standing.value:.4f}"
    _move(client, model, number, old)
    return f"{ALIAS} is now version {number}: {standing.metric} {standing.value:.4f} > {float(tags['score']):.4f}"


def _move(client: Any, model: str, number: str, old: str | int | None) -> None:
    """Point the alias elsewhere; the versions keep when they had it, which the registry itself forgets."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    client.set_registered_model_alias(model, ALIAS, number)
    client.set_model_version_tag(model, number, f"{ALIAS}.from", now)
    if old:
        client.set_model_version_tag(model, old, f"{ALIAS}.until", now)


def _example() -> tuple[Any, dict[str, int]]:
    """A request of one pair of tiny images, kept with the model for whoever wants to try it."""
    import pandas as pd

    picture = io.BytesIO()
    Image.new("RGB", (16, 16), "gray").save(picture, "PNG")
    text = base64.b64encode(picture.getvalue()).decode()
    return pd.DataFrame({"before": [text], "after": [text]}), {"beam": 3, "num_captions": 3}


def _signature(*, beam: int, max_length: int) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    text, whole, number, switch = DataType.string, DataType.long, DataType.double, DataType.boolean
    other = Object([Property("caption", text), Property("log_prob", number)])
    settings = {
        "beam": (whole, beam),
        "max_length": (whole, max_length),
        "num_captions": (whole, 1),
        "sample": (switch, False),
        "temperature": (number, 1.0),
        "seed": (whole, 0),
        "change_map": (switch, False),
        "align": (switch, False),
    }
    return ModelSignature(
        inputs=Schema([ColSpec(text, "before"), ColSpec(text, "after")]),
        outputs=Schema(
            [
                ColSpec(text, "caption"),
                ColSpec(number, "log_prob"),
                ColSpec(number, "changed", required=False),
                ColSpec(Array(other), "alternatives"),
                ColSpec(text, "change_map", required=False),
                ColSpec(text, "note", required=False),
                ColSpec(number, "familiar", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec(name, kind, default) for name, (kind, default) in settings.items()]),
    )
