"""The lines of a metadata.jsonl, and what they may leave out."""

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
    """One line of metadata.jsonl: a `ChangeExample` whose images are named, relative to the folder of the line."""

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
    """One line as it was written, where `changed` and `change_type` may be left out.

    Attributes:
        number: In its file, from 1.
        values: Of the columns of `Row` that it has.
        own: The columns of the user's own, which went to `provenance`.
        blank: How many references were blank, and are left out.
    """

    number: int
    values: dict[str, Any]
    own: tuple[str, ...]
    blank: int

    def row(self, sentences: Sequence[str], where: str) -> Row:
        """The line with what it leaves out filled in: `changed` by `change_type`, or else by the captions.

        Args:
            sentences: The dataset's own no-change sentences.
            where: Names the line in errors.

        Raises:
            ValueError: A value is not valid.
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
        """Its captions, as far as they are texts."""
        given = self.values.get("references")
        return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def read_rows(metadata: Path) -> list[tuple[int, Row]]:
    """The lines of a metadata.jsonl, each with its number from 1; blank lines are passed over.

    Columns that are none of `Row` go to `provenance`, of which one note is written. Where `changed` is left out, it is
    what `change_type` or else the captions say.

    Raises:
        ValueError: A line is not valid; file, line and field are named.
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
    """The lines of a file that are not blank, each with its number from 1."""
    texts = enumerate(read_text(metadata).split("\n"), start=1)
    return [(number, text) for number, text in texts if text.strip()]


def parse_line(text: str, number: int, where: str) -> Line:
    """One line of a metadata.jsonl, as far as it can be understood without the others.

    Raises:
        ValueError: It is no JSON object, or a column looks like a misspelt one.
    """
    values = json_object(text, where)
    own = {name: values.pop(name) for name in list(values) if name not in Row.model_fields}
    for name in own:
        if near := did_you_mean(name, Row.model_fields.keys() - values.keys(), cutoff=0.8):
            raise ValueError(f"{where}: {name!r} is no column, {near}")
    if own and isinstance(values.get("provenance"), dict | None):
        values["provenance"] = own | (values.get("provenance") or {})
    for name in ("changed", "change_type"):  # null is as good as left out
        if values.get(name, "") is None:
            del values[name]
    if isinstance(values.get("references"), str):  # one sentence is as good as a list of one
        values["references"] = [values["references"]]
    given, blank = values.get("references"), 0
    if isinstance(given, list):
        values["references"] = [text for text in given if not isinstance(text, str) or text.strip()]
        blank = len(given) - len(values["references"])
        if blank and not values["references"]:
            raise ValueError(f"{where}: references are blank, expected a sentence")
    return Line(number, values, tuple(own), blank)


def json_object(text: str, where: str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ValueError: It is none.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: it is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where}: it is a {type(values).__name__}, expected a JSON object")
    return values


def unread(lines: Sequence[Line], dataset: Path) -> tuple[int, str] | None:
    """Why it cannot be read from the captions of a file whether their pairs changed, where a line leaves that out.

    Returns:
        The number of the first such line, and the reason; None where nothing is left out, or the captions are read.
    """
    silent = [line for line in lines if not line.values.keys() & {"changed", "change_type"}]
    captions = [text for line in lines for text in line.references]
    if not silent or no_change_sentences(dataset) or look_english(captions):
        return None
    return silent[0].number, (
        "changed is left out, and the captions do not look English, the language that it is read from; give changed in "
        f"every line, or list how captions say that nothing changed, one sentence a line, in {dataset / NO_CHANGE}"
    )


def own_columns(names: Iterable[str]) -> str:
    """Say what becomes of columns of the user's own."""
    return f"kept in provenance, columns of your own: {', '.join(map(repr, names))}"


def note_own(dataset: Path, names: Collection[str]) -> None:
    """Say once what becomes of columns of the user's own, if there are any."""
    if names:
        _note(f"{dataset}: {own_columns(names)}")


@cache
def _note(message: str) -> None:
    """Say something once."""
    logging.getLogger(__name__).warning(message)
