"""Predictions on disk: one JSON object per line, what a model said of a pair beside what people said."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from idc_eval.forms import failure, in_our_words, lies_below, passed_over, read_rows, with_references
from idc_eval.whole import write_whole
from idc_eval.wording import did_you_mean

MAX_CELLS = 16_384
"""Of a change map: 128 x 128."""

MAX_CAPTION = 20_000
"""Characters of a caption. A longer one is a file gone wrong, and some take time by the square of their length."""


def _inside(name: str) -> str:
    if not lies_below(name):
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


def read_predictions(
    path: str | Path, *, annotations: str | Path | None = None, tell: Callable[[str], None] = warnings.warn
) -> list[Prediction]:
    """Read and check a predictions file: JSON lines, or what others write (see `idc_eval.forms`).

    Args:
        path: The file.
        annotations: Where the references are, if the file has captions only, as COCO results have.
        tell: Told once of all fields that are passed over, and of pairs that are not scored.

    Returns:
        The predictions in the file's order.

    Raises:
        ValueError: A line is no prediction, an id comes twice, the two files are not about the same pairs, or there is
            no prediction at all; names the file and the line.
        OSError: A file cannot be read.
    """
    path = Path(path)
    rows, failed = _rows(path)
    if annotations is not None:
        rows = with_references(rows, Path(annotations), path, tell)
    predictions: list[Prediction] = []
    seen: dict[str, str] = {}
    unknown: dict[str, None] = {}
    for where, row in rows:
        try:
            prediction = _parse(row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if prediction.id in seen:
            raise ValueError(
                f"{where}: id {prediction.id!r} is already on {seen[prediction.id]}; "
                "give every pair one line, with all its references"
            )
        seen[prediction.id] = _place(where, path)
        predictions.append(prediction)
        unknown |= dict.fromkeys(row.keys() - Prediction.model_fields.keys())
    if not predictions and not failed:
        raise ValueError(
            f"{path}:1: the file is empty, expected one JSON object per line with id, hypothesis, references"
        )
    if failed:
        told = f"{path}: {len(failed):,} of {len(failed) + len(predictions):,} pairs have an error and no caption"
        if not predictions:
            raise ValueError(f"{told}, the first: {failed[0]}")
        tell(f"{told}; they are not scored. The first: {failed[0]}")
    if unknown:
        tell(f"{path}: fields passed over: {passed_over(sorted(unknown), Prediction.model_fields)}")
    return predictions


def _rows(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """The rows of a file in the words of `Prediction`, and the errors of those that have one instead of a caption."""
    rows, failed = [], []
    for number, (where, row) in enumerate(read_rows(path), 1):
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {str(row)[:60]!r} is no object; expected {{id, hypothesis, references, ...}}")
        if error := failure(row):
            failed.append(error)
        else:
            rows.append((where, in_our_words(row, number)))
    return rows, failed


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
            sentences.append(f"unknown field {field!r}, {did_you_mean(field, known, 'remove it')}")
        else:
            given = repr(problem["input"])
            given = given if len(given) <= 80 else given[:77] + "..."
            sentences.append(f"{field} is {given}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(sentences)


def _parse(row: Mapping[str, Any]) -> Prediction:
    try:
        return Prediction.model_validate({key: value for key, value in row.items() if key in Prediction.model_fields})
    except ValidationError as error:
        told = explain(error, Prediction.model_fields)
        # What is missing may be there, misspelt.
        if "is missing" in told and (unknown := sorted(row.keys() - Prediction.model_fields.keys())):
            told += f"; unknown fields: {passed_over(unknown, Prediction.model_fields)}"
        if "references" not in row:
            told += "; references of another file are given with --annotations"
        raise ValueError(told) from error


def _place(where: str, path: Path) -> str:
    place = where.removeprefix(str(path)).lstrip(":, ")
    return f"line {place}" if place.isdecimal() else place
