"""Predictions on disk: one JSON object per line, what a model said of a pair beside what people said."""

import difflib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Prediction(BaseModel):
    """The generated caption (hypothesis) of one pair and the human ones (references) to hold it against.

    Attributes:
        id: Which pair; unique in a file.
        hypothesis: The generated caption; may be empty.
        references: The human captions, at least one.
        changed: Whether anything changed between before and after; None where nobody knows.
        change_type: What kind of change, in the data set's words; `none` for a distractor.
        truth: Machine-readable facts of a procedural scene, see `idc_eval.scene_truth`.
        log_prob: The model's log-probability of the hypothesis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    hypothesis: str
    references: Annotated[list[str], Field(min_length=1)]
    changed: bool | None = None
    change_type: str | None = None
    truth: dict[str, Any] | None = None
    log_prob: float | None = None


def read_predictions(path: str | Path) -> list[Prediction]:
    """Read and check a predictions file (JSON lines; blank lines are passed over).

    Args:
        path: The file.

    Returns:
        The predictions in the file's order.

    Raises:
        ValueError: A line is no prediction, an id comes twice, or there is none at all; names the file and the line.
        OSError: The file cannot be read.
    """
    path = Path(path)
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    try:
        # Only "\n" ends a line here: JSON may hold U+2028 and its like inside a string.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prediction = _parse(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        if prediction.id in seen:
            raise ValueError(
                f"{path}:{number}: id {prediction.id!r} is already on line {seen[prediction.id]}; "
                "give every pair one line, with all its references"
            )
        seen[prediction.id] = number
        predictions.append(prediction)
    if not predictions:
        raise ValueError(
            f"{path}:1: the file is empty, expected one JSON object per line with id, hypothesis, references"
        )
    return predictions


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write a predictions file, whole or not at all: a crash leaves the file of before.

    Args:
        path: The file; its folder must exist.
        predictions: What to write, one line each.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            for prediction in predictions:
                file.write(prediction.model_dump_json(exclude_none=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def explain(error: ValidationError, known: Iterable[str] = ()) -> str:
    """What a pydantic error says, in one line: which field, what was given, what was expected, what was meant."""
    sentences = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"]) or "the object"
        if problem["type"] == "missing":
            sentences.append(f"{field} is missing, add it")
        elif problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(field, list(known), n=1)
            sentences.append(f"unknown field {field!r}, " + (f"did you mean {near[0]!r}?" if near else "remove it"))
        else:
            given = repr(problem["input"])
            given = given if len(given) <= 80 else given[:77] + "..."
            sentences.append(f"{field} is {given}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(sentences)


def _parse(line: str) -> Prediction:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON ({error.msg} at column {error.colno}): {line[:60]!r}; expected one object"
        ) from error
    if not isinstance(record, dict):
        raise ValueError(f"{line[:60]!r} is no object; expected {{id, hypothesis, references, ...}}")
    try:
        return Prediction.model_validate(record)
    except ValidationError as error:
        raise ValueError(explain(error, Prediction.model_fields)) from error
