"""Output records of captioned pairs: printed, or written to a file."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
from idc_eval.whole import write_whole
from idc_models.serving.inference import Caption

from idc_run.serving.many import digest, side_of

COLUMNS: tuple[str, ...] = ("before", "after", "caption", "log_prob", "changed", "familiar", "note", "error")
_ANSWERS = ("caption", "log_prob", "changed", "alternatives", "familiar", "note", "error")
MODEL = "model_"
"""Prefix of a field of the answer whose name the line already has."""


def record(given: dict[str, Any], said: Caption | str) -> dict[str, Any]:
    """Return the record of a pair: all given fields, and the answer or an `error`.

    A field of the answer whose name is taken, such as `changed`, goes under `model_changed`. Results of an earlier
    attempt are removed, including its `error`, which is a string.
    """
    if isinstance(said, str):
        answer: dict[str, Any] = {"error": said}
    else:
        others = [{"caption": other.caption, "log_prob": other.log_prob} for other in said.alternatives]
        answer = {"caption": said.caption, "log_prob": said.log_prob, "changed": said.changed}
        answer |= {"familiar": said.familiar, "alternatives": others, "note": said.note}
    earlier = {f"{MODEL}{name}" for name in _ANSWERS} | ({"error"} if isinstance(given.get("error"), str) else set())
    kept = {key: value for key, value in given.items() if key not in earlier}
    return kept | {f"{MODEL}{key}" if key in kept else key: value for key, value in answer.items()}


def failure(record: dict[str, Any]) -> str | None:
    """Return why a pair has no caption; None if it has one."""
    found = record.get(f"{MODEL}error", record.get("error"))
    return found if isinstance(found, str) else None


class Records:
    """Writes records to a file that appears when it is complete; a second call continues after an interruption.

    Args:
        path: A .jsonl file, or a .csv file, which omits the alternatives.
        key: Everything the records depend on; a different key starts anew, and None is never continued.

    Attributes:
        done: Number of records from an earlier call.

    Raises:
        ValueError: The file has another suffix.
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path, key: Any) -> None:
        if path.suffix not in (".jsonl", ".csv"):
            raise ValueError(f"--out is {str(path)!r}; expected a .jsonl or a .csv file")
        self._path, self._part = path, path.with_name(f".{path.name}.{digest(key)}.part")
        whole = []
        if key is not None and self._part.is_file():
            whole = [line for line in self._part.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        self.done = len(whole)
        self._part.write_bytes(b"".join(whole))  # without a partial last line

    def write(self, rest: Iterable[dict[str, Any]]) -> int:
        """Write the remaining records as they come, and create the file; return the total number of errors."""
        with self._part.open("a", encoding="utf-8", newline="\n") as file:
            for found in rest:
                file.write(f"{json_line(found)}\n")
                file.flush()
            os.fsync(file.fileno())
        with self._part.open(encoding="utf-8") as file:
            failed = sum(failure(json.loads(line)) is not None for line in file)
        if self._path.suffix == ".csv":
            with self._part.open(encoding="utf-8") as file:
                write_whole(self._path, csv_lines(map(json.loads, file)))
            self._part.unlink()
        else:
            self._part.replace(self._path)
        return failed


def json_line(found: dict[str, Any]) -> str:
    """Return a record as JSON that can be encoded as UTF-8."""
    return encodable(json.dumps(found, ensure_ascii=False))


def encodable(text: str) -> str:
    r"""Escape lone surrogates, which file names that are not UTF-8 contain.

    They become escapes such as `\udcff`, which JSON decodes to the same character.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def csv_lines(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the answers of records as CSV lines, as they come."""
    line = io.StringIO()
    writer = csv.DictWriter(line, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in chain([None], records):
        if row is not None:
            answer: dict[str, Any] = {"error": failure(row)}
            if answer["error"] is None:  # otherwise the line's own caption would appear as the model's
                answer |= {name: row.get(f"{MODEL}{name}", row.get(name)) for name in COLUMNS if name != "error"}
            writer.writerow(answer | {side: side_of(row, side) for side in ("before", "after")})
        yield encodable(line.getvalue())
        line.seek(0)
        line.truncate()


def print_json(records: Iterable[dict[str, Any]]) -> None:
    """Print records as JSON lines."""
    for found in records:
        click.echo(json_line(found))


def print_csv(records: Iterable[dict[str, Any]]) -> None:
    """Print the answers of records as a CSV."""
    for line in csv_lines(records):
        click.echo(line, nl=False)


def print_table(records: Iterable[dict[str, Any]]) -> None:
    """Print records as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("before", "caption", box=None)
    table.add_column("changed", justify="right")
    table.add_column("familiar", justify="right")
    for found in records:
        said = f"error: {found['error']}" if "error" in found else found["caption"]
        parts = (found.get(name) for name in ("changed", "familiar"))
        table.add_row(encodable(found["before"]), said, *("" if part is None else f"{part:.1%}" for part in parts))
    Console(highlight=False, markup=False).print(table)
