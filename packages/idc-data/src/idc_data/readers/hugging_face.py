"""Local data sets that Hugging Face `datasets` has saved or can read."""

import importlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from idc_data.example import ChangeExample
from idc_data.images import load_image
from idc_data.unchanged import claims_change

_SPLITS = {"train": ("train",), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}


class HuggingFace(Sequence[ChangeExample]):
    """A local data set of Hugging Face `datasets`: saved by `save_to_disk`, or a folder that `load_dataset` reads.

    Nothing is downloaded from a hub.

    Args:
        split: train, val or test; val may also be called validation, valid or dev.
        root: The folder.
        before: The column with the before image.
        after: The column with the after image.
        captions: The column with a sentence or a list of them.
        changed: A column that tells whether a pair changed; by default it is inferred from the sentences.
        change_type: A column with the change type.
        id: A column with ids of pairs; by default the number of the row.
        form: Format of the folder; `saved` is that of `save_to_disk`.

    Raises:
        ValueError: There is no such split or column, or `datasets` cannot read the folder.
    """

    endless = False

    def __init__(
        self,
        split: str,
        *,
        root: Path,
        before: str = "before",
        after: str = "after",
        captions: str = "references",
        changed: str | None = None,
        change_type: str | None = None,
        id: str | None = None,
        form: Literal["saved", "parquet", "imagefolder", "webdataset"] = "saved",
    ) -> None:
        self.split, self._root = split, Path(root)
        self._columns = {"before": before, "after": after, "captions": captions, "changed": changed}
        self._columns |= {"change_type": change_type, "id": id}
        self._rows = _open(self._root, split, form)
        for name in filter(None, self._columns.values()):
            if name not in self._rows.column_names:
                raise ValueError(
                    f"{str(root)!r} has no column {name!r}, expected one of {', '.join(self._rows.column_names)}"
                )
        datasets = importlib.import_module("datasets")
        for side in (before, after):
            if isinstance(self._rows.features[side], datasets.Image):
                self._rows = self._rows.cast_column(side, datasets.Image(decode=False))

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the rows, as computed by `datasets`."""
        return str(self._rows._fingerprint)[:16]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        row = self._rows[index]
        found = {key: row[name] for key, name in self._columns.items() if name}
        given = [found["captions"]] if isinstance(found["captions"], str) else found["captions"] or []
        references = tuple(text.strip() for text in given if isinstance(text, str) and text.strip())
        if not references:
            raise ValueError(f"row {index} of {self.split} in {str(self._root)!r} has only blank sentences")
        changed = bool(found["changed"]) if found.get("changed") is not None else claims_change(references, ())
        return ChangeExample(
            id=str(found.get("id") or f"{self.split}-{index:06d}"),
            before=self._image(found["before"]),
            after=self._image(found["after"]),
            references=references,
            changed=changed,
            change_type=str(found.get("change_type") or "change") if changed else "none",
            split=self.split,
            provenance={"dataset": "huggingface", "row": index},
        )

    def _image(self, value: Any) -> Path | np.ndarray:
        if isinstance(value, dict):
            if value.get("bytes"):
                return load_image(value["bytes"])
            value = value["path"]
        return self._root / value


def _open(root: Path, split: str, form: str) -> Any:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise ValueError(
            f"{str(root)!r} needs the library datasets: uv pip install './packages/idc-data[hub]'"
        ) from error
    try:
        found = (
            datasets.load_from_disk(str(root)) if form == "saved" else datasets.load_dataset(form, data_dir=str(root))
        )
    except Exception as error:  # the library raises many kinds
        raise ValueError(f"{str(root)!r} cannot be read as a data set (form={form}): {error}") from error
    if not isinstance(found, dict):
        found = {"train": found}
    name = next((name for name in _SPLITS.get(split, ()) if name in found), None)
    if name is None:
        raise ValueError(f"{str(root)!r} has no split {split!r}, expected one of {', '.join(found)}")
    return found[name]
