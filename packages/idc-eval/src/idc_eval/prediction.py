"""Predictions on disk: one JSON object per line, what a model said of a pair beside what people said."""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from idc_eval.whole import write_whole

MAX_CELLS = 16_384
"""Of a change map: 128 x 128."""

MAX_CAPTION = 20_000
"""Characters of a caption. A longer one is a file gone wrong, and some take time by the square of their length."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ValueError("expected the name of a file beside or below the predictions file, with / between folders")
    return name


def _short(caption: str) -> str:
    if len(caption) > MAX_CAPTION:
        raise ValueError(f"this has {len(caption):,} characters, expected a caption of at most {MAX_CAPTION:,}")
    return caption


def _rectangle(rows: list[list[float]]) -> list[list[float]]:
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows) or len(rows) * len(rows[0]) > MAX_CELLS:
        raise ValueError(f"expected rows of one length, at most {MAX_CELLS} numbers in all")
    if any(not 0 <= value <= 1 for row in rows for value in row):
        raise ValueError("expected numbers from 0 to 1")
    return rows


Caption = Annotated[str, AfterValidator(_short)]
FileName = Annotated[str, AfterValidator(_inside)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Box = Annotated[list[Fraction], Field(min_length=4, max_length=4)]
"""x, y, width and height as parts of the image's width and height; x and y are the upper left corner."""


class Regions(BaseModel):
    """Where the change is, as boxes on each image; no box on the side where a thing does not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    before: list[Box] = []
    after: list[Box] = []


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
        familiar: How much the images are like those that the model was trained on, 0 to 1.
        before: The earlier image: a file beside or below the predictions file.
        after: The later image, likewise.
        change_map: Where the model sees the change, 0..1, as rows from top to bottom of a grid over the image.
        regions: Where the change is.
        swapped: What the model says when it is given the images in the other order.
        difficulty: What makes the pair hard, by name, such as `viewpoint_overlap` or `change_size`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    hypothesis: Caption
    references: Annotated[list[Caption], Field(min_length=1)]
    changed: bool | None = None
    change_type: str | None = None
    truth: dict[str, Any] | None = None
    log_prob: float | None = None
    familiar: Fraction | None = None
    before: FileName | None = None
    after: FileName | None = None
    change_map: Annotated[list[list[float]], AfterValidator(_rectangle)] | None = None
    regions: Regions | None = None
    swapped: Caption | None = None
    difficulty: dict[str, float] = {}


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
    write_whole(Path(path), (p.model_dump_json(exclude_none=True, exclude_defaults=True) + "\n" for p in predictions))


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
    except RecursionError as error:
        raise ValueError(f"{line[:60]!r} has too many brackets within each other; expected one object") from error
    if not isinstance(record, dict):
        raise ValueError(f"{line[:60]!r} is no object; expected {{id, hypothesis, references, ...}}")
    try:
        return Prediction.model_validate(record)
    except ValidationError as error:
        raise ValueError(explain(error, Prediction.model_fields)) from error
