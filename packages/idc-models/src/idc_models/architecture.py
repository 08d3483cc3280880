"""Architectures of transformers: read from a folder or the hub when a spec is validated, and then part of the spec."""

import importlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from idc_data.hub import without_retries_logged
from pydantic import AfterValidator, Field


def read_architecture(model: str) -> dict[str, Any]:
    """Read the architecture of a model, its `config.json`, without its weights.

    Args:
        model: A folder, or an id on the Hugging Face hub.

    Raises:
        ValueError: There is no such model, or its `config.json` is invalid.
    """
    file = Path(model) / "config.json"
    if not file.is_file():
        return dict(_of_hub(model))
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is not JSON ({error})") from error
    if not isinstance(plain, dict) or "model_type" not in plain:
        raise ValueError(f"{str(file)!r} has no model_type; expected the folder of a model of transformers")
    return plain


@lru_cache(maxsize=8)
def _of_hub(model: str) -> Mapping[str, Any]:
    try:
        with without_retries_logged():
            return library("transformers").AutoConfig.from_pretrained(model).to_dict()
    except Exception as error:  # the library raises what it likes
        cause = " ".join(str(error).split())[:200]
        raise ValueError(
            f"model is {model!r}, which is neither a folder with a config.json nor a model on the Hugging Face hub "
            f"({cause})"
        ) from error


def _filled(config: dict[str, Any] | None, info: Any) -> dict[str, Any] | None:
    model = info.data.get("model")
    return read_architecture(model) if config is None and model is not None else config


#: The architecture of the preceding setting `model`. A validated spec contains it in full, so that a checkpoint can be
#: loaded without the folder or the hub.
Architecture = Annotated[dict[str, Any] | None, AfterValidator(_filled), Field(validate_default=True)]


def library(name: str) -> Any:
    """Import an optional library.

    Raises:
        ValueError: It is not installed; the message tells how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"models of transformers need the library {name}, which is not installed ({error}): "
            "uv pip install './packages/idc-models[lm]'"
        ) from error
