"""Architectures of transformers: read from a folder or the hub when a spec is checked, and then part of the spec."""

import importlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field


def read_architecture(model: str) -> dict[str, Any]:
    """Read the architecture of a model, its `config.json`; not its weights.

    Args:
        model: A folder, or an id of the Hugging Face hub.

    Raises:
        ValueError: There is none.
    """
    file = Path(model) / "config.json"
    if not file.is_file():
        return dict(_of_hub(model))
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is no JSON ({error})") from error
    if not isinstance(plain, dict) or "model_type" not in plain:
        raise ValueError(f"{str(file)!r} names no model_type; expected the folder of a model of transformers")
    return plain


@lru_cache(maxsize=8)
def _of_hub(model: str) -> Mapping[str, Any]:
    try:
        return library("transformers").AutoConfig.from_pretrained(model).to_dict()
    except Exception as error:  # the library raises what it likes
        cause = " ".join(str(error).split())[:200]
        raise ValueError(
            f"model is {model!r}, which is no folder with a config.json, and no model that the Hugging Face hub gives "
            f"({cause})"
        ) from error


def _filled(config: dict[str, Any] | None, info: Any) -> dict[str, Any] | None:
    model = info.data.get("model")
    return read_architecture(model) if config is None and model is not None else config


#: The architecture of a setting `model` that comes before it. A spec that is checked holds it in full, so that a
#: checkpoint is built without the folder or the hub.
Architecture = Annotated[dict[str, Any] | None, AfterValidator(_filled), Field(validate_default=True)]


def library(name: str) -> Any:
    """Import a library that is an extra.

    Raises:
        ValueError: It is not installed; the message says how it is.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"models of transformers need the library {name}, which is not installed ({error}): "
            "uv pip install './packages/idc-models[lm]'"
        ) from error
