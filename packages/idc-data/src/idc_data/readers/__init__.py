"""Readers of datasets by name, by `package.module:Class`, or by the path of a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idc_data.example import Reader
from idc_data.named import resolve

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

    Nothing is opened.

    Raises:
        ValueError: As `open_reader`.
    """
    given = {"name": dataset} if isinstance(dataset, str) else dict(dataset)
    name = given.get("name")
    if isinstance(name, str) and name not in READERS and ":" not in name and Path(name).is_dir():
        given = {"root": name, **given, "name": "folder"}
    return resolve("dataset", given, READERS)
