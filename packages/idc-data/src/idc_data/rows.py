"""Reads the lines of a metadata.jsonl and fills in omitted fields."""

import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from idc_data.example import Regions
from idc_data.text import read_text
from idc_data.unchanged import NO_CHANGE, claims_change, look_english, no_change_sentences
from idc_data.wording import did_you_mean, faults

METADATA = "metadata.jsonl"


class Row(BaseModel):
    """A line of metadata.jsonl: a `ChangeExample` with the names of its images, relative to the folder of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    before_file_name: str
    after_file_name: str
    references: tuple[str, ...] = Field(min_length=1)
    changed: bool
    change_type: str = Field(min_length=1)
    regions: Regions | None = None
    provenance: dict[str, Any] | None = None
    truth: dict[str, Any] | None = None


@dataclass(frozen=True)
class Line:
    """A line as written, in which `changed` and `change_type` may be omitted.

    Attributes:
        number: Line number in the file, from 1.
        values: Values of the columns of `Row`.
        own: Names of the user's own columns, which are moved to `provenance`.
        blank: Number of blank references, which are removed.
    """

    number: int
    values: dict[str, Any]
    own: tuple[str, ...]
    blank: int

    def row(self, sentences: Sequence[str], where: str) -> Row:
        """Return the row, with `changed` inferred from `change_type`, or else from the captions, if omitted.

        Args:
            sentences: The dataset's own no-change sentences.
            where: The line, for error messages.

        Raises:
            ValueError: A value is invalid.
        """
        values = dict(self.values)
        if "changed" not in values:
            kind = values.get("change_type")
            values["changed"] = claims_change(self.references, sentences) if kind is None else kind != "none"
        values.setdefault("change_type", "none" if values["changed"] is False else "change")
        try:
            return Row.model_validate(values)
        except ValidationError as error:
            raise ValueError(f"{where}: {faults(error)}") from error

    @property
    def references(self) -> list[str]:
        """Return its captions, without values that are not texts."""
        given = self.values.get("references")
        return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def read_rows(metadata: Path) -> list[tuple[int, Row]]:
    """Read the lines of a metadata.jsonl, each with its number from 1; blank lines are skipped.

    Unknown columns are moved to `provenance`, which is logged once. If `changed` is omitted, it is inferred from
    `change_type`, or else from the captions.

    Raises:
        ValueError: A line is invalid; the message names file, line and field.
        OSError: The file cannot be read.
    """
    lines = [parse_line(text, number, f"{metadata}:{number}") for number, text in numbered(metadata)]
    if problem := unread(lines, metadata.parent.parent):
        number, message = problem
        raise ValueError(f"{metadata}:{number}: {message}")
    sentences = no_change_sentences(metadata.parent.parent)
    rows = [(line.number, line.row(sentences, f"{metadata}:{line.number}")) for line in lines]
    note_own(metadata.parent.parent, dict.fromkeys(name for line in lines for name in line.own))
    return rows


def numbered(metadata: Path) -> list[tuple[int, str]]:
    """Return the lines of a file that are not blank, each with its number from 1."""
    texts = enumerate(read_text(metadata).split("\n"), start=1)
    return [(number, text) for number, text in texts if text.strip()]


def parse_line(text: str, number: int, where: str) -> Line:
    """Parse a line of a metadata.jsonl, independently of the other lines.

    Raises:
        ValueError: It is not a JSON object, or the name of a column looks misspelt.
    """
    values = json_object(text, where)
    own = {name: values.pop(name) for name in list(values) if name not in Row.model_fields}
    for name in own:
        if near := did_you_mean(name, Row.model_fields.keys() - values.keys(), cutoff=0.8):
            raise ValueError(f"{where}: unknown column {name!r}, {near}")
    if own and isinstance(values.get("provenance"), dict | None):
        values["provenance"] = own | (values.get("provenance") or {})
    for name in ("changed", "change_type"):  # null means omitted
        if values.get(name, "") is None:
            del values[name]
    if isinstance(values.get("references"), str):  # a single sentence
        values["references"] = [values["references"]]
    given, blank = values.get("references"), 0
    if isinstance(given, list):
        values["references"] = [text for text in given if not isinstance(text, str) or text.strip()]
        blank = len(given) - len(values["references"])
        if blank and not values["references"]:
            raise ValueError(f"{where}: all references are blank, expected a sentence")
    return Line(number, values, tuple(own), blank)


def json_object(text: str, where: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: The text is not a JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where}: it is a {type(values).__name__}, expected a JSON object")
    return values


def unread(lines: Sequence[Line], dataset: Path) -> tuple[int, str] | None:
    """Return why an omitted `changed` cannot be inferred from the captions of a file.

    Returns:
        The number of the first line without it, and the reason; None if no line omits it, or it can be inferred.
    """
    silent = [line for line in lines if not line.values.keys() & {"changed", "change_type"}]
    captions = [text for line in lines for text in line.references]
    if not silent or no_change_sentences(dataset) or look_english(captions):
        return None
    return silent[0].number, (
        "changed is missing and cannot be inferred, because the captions do not look English; give changed in every "
        f"line, or list the sentences that mean no change, one per line, in {dataset / NO_CHANGE}"
    )


def own_columns(names: Iterable[str]) -> str:
    """Return the message about the user's own columns."""
    return f"your own columns are kept in provenance: {', '.join(map(repr, names))}"


def note_own(dataset: Path, names: Collection[str]) -> None:
    """Log once that the user's own columns, if any, are kept in provenance."""
    if names:
        _note(f"{dataset}: {own_columns(names)}")


@cache
def _note(message: str) -> None:
    """Log a message once."""
    logging.getLogger(__name__).warning(message)
