"""Readers of datasets by name, by `package.module:Class`, or by the path of a folder."""

import importlib
import inspect
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from idc_data.example import Reader

READERS = {
    "scenes": "idc_data.scenes:Scenes",
    "folder": "idc_data.layout:Folder",
    "clevr-change": "idc_data.readers.clevr_change:ClevrChange",
}
"""Name -> `package.module:Class` of a class `Reader(split, *, settings...)`."""


def open_reader(dataset: str | Mapping[str, Any], split: str, *, image_size: int | None = None) -> Reader:
    """Open one split of a dataset.

    Args:
        dataset: A name of `READERS`, a `package.module:Class`, the path of a folder in the project's own layout, or
            `{"name": any of these, setting: value, ...}`.
        split: train, val or test.
        image_size: Given to readers that have a setting of this name (they render at any size), unless `dataset` says
            otherwise.

    Raises:
        ValueError: The dataset or a setting is unknown or of the wrong type; the nearest known one is named.
        OSError: Files are missing.
    """
    reader, settings = resolve_reader(dataset)
    asked_for = isinstance(dataset, Mapping) and "image_size" in dataset
    if image_size is not None and "image_size" in settings and not asked_for:
        settings["image_size"] = image_size
    return reader(split, **settings)


def resolve_reader(dataset: str | Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """The reader class that a dataset means, and all of its settings, checked, with defaults filled in.

    Nothing is opened. The keyword-only parameters of the class are the schema.

    Raises:
        ValueError: As `open_reader`.
    """
    given = {"name": dataset} if isinstance(dataset, str) else dict(dataset)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"dataset is {dataset!r}, expected a name or a mapping with a name and settings")
    if name not in READERS and ":" not in name and Path(name).is_dir():
        given.setdefault("root", name)
        name = "folder"
    reader = _import(name)
    hints = get_type_hints(reader.__init__)
    fields: dict[str, Any] = {
        parameter.name: (
            hints.get(parameter.name, Any),
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(reader).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for key in given.keys() - fields.keys():
        raise ValueError(f"dataset {name!r} has no setting {key!r}, {_nearest(key, fields)}")
    try:
        checked = create_model(name, __config__=ConfigDict(protected_namespaces=()), **fields)(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"dataset {name!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return reader, {key: getattr(checked, key) for key in fields}


def _import(name: str) -> type[Any]:
    target = READERS.get(name, name)
    if not re.fullmatch(r"[\w.]+:\w+", target):
        raise ValueError(f"dataset {name!r} is no folder and no known reader, {_nearest(name, READERS)}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"dataset {name!r} cannot be imported: {error}") from error


def _nearest(given: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(known))}"
