"""A folder of images with a table: CSV, TSV, JSON lines or Parquet, with configurable columns."""

import csv
import importlib
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from idc_data.readers.published import Published, Record
from idc_data.rows import json_object
from idc_data.text import read_text

_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_NO = {"0", "false", "no", "none", ""}
_SPLITS = {"train": {"train", "training"}, "val": {"val", "valid", "validation", "dev"}, "test": {"test"}}


class Table(Published):
    """Pairs in a table, one per row; rows with the same images are merged.

    The files are `<split>.csv` (or .tsv, .jsonl, .parquet) in the root, or one `file` for all splits with a column for
    the split.

    Args:
        split: train, val or test.
        whole: As in `Published`.
        root: The folder of the table; images are relative to it.
        file: The table, if there is one for all splits.
        before: The column with the before image.
        after: The column with the after image.
        captions: The column with a sentence or a list of them, or several columns separated by commas.
        separator: Separator of sentences within a field of a CSV, such as `|`.
        id: A column with ids of pairs; by default the number of the row.
        changed: A column that tells whether a pair changed; by default it is inferred from the sentences.
        change_type: A column with the change type.
        split_column: The column with the split, for a table of all splits.
    """

    name = "table"
    layout = "a table <split>.csv, .tsv, .jsonl or .parquet (or one for all splits: set file) next to the images"

    def __init__(
        self,
        split: str,
        whole: bool = True,
        *,
        root: Path,
        file: str | None = None,
        before: str = "before",
        after: str = "after",
        captions: str = "caption",
        separator: str | None = None,
        id: str | None = None,
        changed: str | None = None,
        change_type: str | None = None,
        split_column: str = "split",
    ) -> None:
        self._file, self._split_column, self._separator = file, split_column, separator
        self._columns = {"before": before, "after": after, "id": id, "changed": changed, "change_type": change_type}
        self._captions = [name.strip() for name in captions.split(",")]
        super().__init__(split, whole, root=root)

    def settings(self) -> tuple[Any, ...]:  # noqa: D102
        return self._file, self._split_column, self._separator, sorted(self._columns.items(), key=str), self._captions

    def read(self) -> Iterator[Record]:  # noqa: D102
        names = [self._file] if self._file else [f"{self.split}{ending}" for ending in _ENDINGS]
        path = self.annotation(*names)
        for number, row in enumerate(rows_of(path) if path else (), start=1):
            where = f"{names[0] if path is None else path.name}: row {number}"
            if self._file and str(self._value(row, self._split_column, where)).lower() not in _SPLITS[self.split]:
                continue
            found = {key: self._value(row, name, where) for key, name in self._columns.items() if name}
            changed = found.get("changed")
            yield Record(
                str(found.get("id") or f"{self.split}-{number:06d}"),
                str(found["before"]),
                str(found["after"]),
                tuple(text for name in self._captions for text in self._texts(self._value(row, name, where))),
                where,
                changed=None if changed is None else str(changed).strip().lower() not in _NO,
                change_type=str(found["change_type"]) if found.get("change_type") else None,
            )

    def _texts(self, value: Any) -> list[str]:
        if isinstance(value, str):
            return value.split(self._separator) if self._separator else [value]
        return [str(each) for each in value] if value is not None else []

    def _value(self, row: dict[str, Any], name: str, where: str) -> Any:
        if name not in row:
            raise ValueError(f"{where}: there is no column {name!r}, expected one of {', '.join(map(repr, row))}")
        return row[name]


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Read a table row by row.

    Raises:
        ValueError: The extension is not supported, or a line is invalid.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        yield from csv.DictReader(StringIO(read_text(path), newline=""), delimiter="\t" if ending == ".tsv" else ",")
    elif ending in (".jsonl", ".ndjson"):
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.strip():
                yield json_object(line, f"{path.name}:{number}")
    elif ending == ".json":
        yield from json.loads(read_text(path))
    elif ending == ".parquet":
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise ValueError(f"{str(path)!r} needs pyarrow: uv pip install './packages/idc-data[tables]'") from error
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                yield from batch.to_pylist()
    else:
        raise ValueError(f"{str(path)!r} cannot be read as a table, expected one of {', '.join(_ENDINGS)}")
