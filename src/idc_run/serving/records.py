"""What is written about pairs that were captioned: records, printed or on their way to a file."""

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
"""What stands before a field of the answer whose name the line has already."""


def record(given: dict[str, Any], said: Caption | str) -> dict[str, Any]:
    """What is written about a pair: all that was given, and the answer, or an `error` in its place.

    A field of the answer whose name was given, such as `changed`, goes under `model_changed`. What an earlier try left
    there is no more, nor is its `error`, which is a text.
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
    """Why a pair has no caption; None if it has one."""
    found = record.get(f"{MODEL}error", record.get("error"))
    return found if isinstance(found, str) else None


class Records:
    """Records on their way to a file, which appears when all are there; a second start goes on where the first stopped.

    Args:
        path: A .jsonl or a .csv file, which gets no alternatives.
        key: What the records depend on: others begin anew; None is what can never be gone on with.

    Attributes:
        done: How many records were there before.

    Raises:
        ValueError: The file's suffix is another.
        OSError: It cannot be written.
    """

    def __init__(self, path: Path, key: Any) -> None:
        if path.suffix not in (".jsonl", ".csv"):
            raise ValueError(f"--out is {str(path)!r}; expected a .jsonl or a .csv file")
        self._path, self._part = path, path.with_name(f".{path.name}.{digest(key)}.part")
        whole = []
        if key is not None and self._part.is_file():
            whole = [line for line in self._part.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        self.done = len(whole)
        self._part.write_bytes(b"".join(whole))  # a line that was torn goes

    def write(self, rest: Iterable[dict[str, Any]]) -> int:
        """Write the rest, each as it comes, and put the file in its place; gives how many of all are errors."""
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
    """Write a record as JSON, in signs that UTF-8 has."""
    return encodable(json.dumps(found, ensure_ascii=False))


def encodable(text: str) -> str:
    r"""Escape what UTF-8 does not have: names of files that are not UTF-8 hold such signs.

    They become such as `\udcff`, which reads as the sign itself in JSON.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def csv_lines(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Write the answers of records as the lines of a CSV, each as it comes."""
    line = io.StringIO()
    writer = csv.DictWriter(line, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in chain([None], records):
        if row is not None:
            answer: dict[str, Any] = {"error": failure(row)}
            if answer["error"] is None:  # else a caption of the line's own would stand where the model's has to
                answer |= {name: row.get(f"{MODEL}{name}", row.get(name)) for name in COLUMNS if name != "error"}
            writer.writerow(answer | {side: side_of(row, side) for side in ("before", "after")})
        yield encodable(line.getvalue())
        line.seek(0)
        line.truncate()


def print_json(records: Iterable[dict[str, Any]]) -> None:
    """Print records as lines of JSON."""
    for found in records:
        click.echo(json_line(found))


def print_csv(records: Iterable[dict[str, Any]]) -> None:
    """Print the answers of records as a CSV."""
    for line in csv_lines(records):
        click.echo(line, nl=False)


def print_table(records: Iterable[dict[str, Any]]) -> None:
    """Print a table for people."""
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
