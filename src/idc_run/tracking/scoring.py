"""The MLflow signature of a model, and MLflow's scoring server around it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from idc_models.description import usual_no_repeat
from idc_models.serving.settings import SETTINGS

from idc_run.checkpoint import Checkpoint, load_checkpoint
from idc_run.tracking.store import quiet_mlflow

_ROUTE = "/invocations"


@runtime_checkable
class Answering(Protocol):
    """The interface that MLflow calls: `predict` takes a data frame and settings, and returns a record per row."""

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Answer a request; `context` is unused."""
        ...


def endpoint(load: Callable[[], Answering], checkpoint: Path) -> Callable[[Any], Awaitable[Any]]:
    """Put a model behind MLflow's scoring server, like a registered one; return the handler of requests.

    Args:
        load: Returns the model.
        checkpoint: The checkpoint whose signature applies.

    Raises:
        ValueError: The file is not a checkpoint.
    """
    form = signature(load_checkpoint(checkpoint, weights=False))
    quiet_mlflow()
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel, scoring_server

    served = PyFuncModel(Model(signature=form), _Answers(load()))
    (answer,) = (each for each in scoring_server.init(served).routes if getattr(each, "path", "") == _ROUTE)
    return answer.endpoint  # pyright: ignore[reportAttributeAccessIssue]


class _Answers:
    """A model without a context."""

    def __init__(self, model: Answering) -> None:
        self._model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._model.predict(None, model_input, params)


def signature(held: Checkpoint) -> Any:
    """Return the MLflow signature of the requests and responses of a checkpoint."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    text, number = DataType.string, DataType.double
    other = Object([Property("caption", text), Property("log_prob", number)])
    kinds = {int: DataType.long, float: number, bool: DataType.boolean}
    known = {
        "beam": held.spec.eval.beam,
        "max_length": held.tokenizer.max_length - 1,
        "no_repeat": usual_no_repeat(held.spec.eval.no_repeat_ngram, held.description),
    }
    params = [ParamSpec(name, kinds[each.kind], known.get(name, each.default)) for name, each in SETTINGS.items()]
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
        params=ParamSchema(params),
    )
