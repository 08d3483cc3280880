"""Readers of datasets by name, by `package.module:Class`, or by the path of a folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idc_data.example import Reader
from idc_data.named import PLUGIN, resolve
from idc_data.wording import did_you_mean

READERS = {
    "scenes": "idc_data.scenes:Scenes",
    "clevr-scenes": "idc_data.scenes.clevr:ClevrScenes",
    "folder": "idc_data.layout:Folder",
    "clevr-change": "idc_data.readers.clevr_change:ClevrChange",
    "clevr-dc": "idc_data.readers.clevr_dc:ClevrDC",
    "clevr-multi-change": "idc_data.readers.clevr_multi_change:ClevrMultiChange",
    "spot-the-diff": "idc_data.readers.spot_the_diff:SpotTheDiff",
    "image-editing-request": "idc_data.readers.image_editing_request:ImageEditingRequest",
    "birds-to-words": "idc_data.readers.birds_to_words:BirdsToWords",
    "levir-cc": "idc_data.readers.levir_cc:LevirCC",
    "levir-mci": "idc_data.readers.levir_cc:LevirMCI",
    "dubai-cc": "idc_data.readers.levir_cc:DubaiCC",
    "edits": "idc_data.readers.edits:Edits",
    "table": "idc_data.readers.table:Table",
    "coco": "idc_data.readers.coco:Coco",
    "webdataset": "idc_data.readers.webdataset:WebDataset",
    "huggingface": "idc_data.readers.hugging_face:HuggingFace",
}
"""Name -> `package.module:Class` of a class `Reader(split, *, settings...)`."""

FORMATS = tuple(name for name in READERS if name not in ("scenes", "clevr-scenes", "folder"))
"""The readers of other layouts, from which `idc-data import` copies into our own."""


def open_reader(dataset: str | Mapping[str, Any], split: str, *, image_size: int | None = None) -> Reader:
    """Open one split of a dataset.

    Args:
        dataset: A name of `READERS`, a `package.module:Class`, the path of a folder in the project's own layout, or
            `{"name": any of these, setting: value, ...}`.
        split: train, val or test.
        image_size: Passed to readers that have a setting of this name (they render at any size), unless `dataset` sets
            it.

    Raises:
        ValueError: The dataset or a setting is unknown or of the wrong type; the message suggests the nearest one.
        OSError: Files are missing.
    """
    reader, settings = resolve_reader(dataset)
    asked_for = isinstance(dataset, Mapping) and "image_size" in dataset
    if image_size is not None and "image_size" in settings and not asked_for:
        settings["image_size"] = image_size
    return reader(split, **settings)


def resolve_reader(dataset: str | Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """Return the reader class of a dataset and its validated settings, with defaults filled in, without opening it.

    Raises:
        ValueError: As in `open_reader`.
    """
    given = {"name": dataset} if isinstance(dataset, str) else dict(dataset)
    name = given.get("name")
    if isinstance(name, str) and name not in READERS and not re.fullmatch(PLUGIN, name):
        if not Path(name).is_dir() and not did_you_mean(name, READERS):  # otherwise `resolve` suggests a name
            raise ValueError(f"dataset {name!r}: {_no_folder(Path(name))}")
        given = given if not Path(name).is_dir() else {"root": name, **given, "name": "folder"}
    return resolve("dataset", given, READERS)


def _no_folder(path: Path) -> str:
    """Return why there is no dataset at a path, and a suggestion."""
    if path.exists():
        return "it is a file, expected the folder of a dataset"
    beside = [str(each) for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    known = " or ".join(name for name in READERS if name != "folder")
    return (
        f"there is no such folder; {did_you_mean(str(path), beside, f'expected the folder of a dataset, or {known}')}"
    )
