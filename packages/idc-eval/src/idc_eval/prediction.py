"""Predictions on disk: one JSON object per line, with a pair's generated caption and its references."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from idc_eval.forms import failure, in_our_words, lies_below, passed_over, read_rows, with_references
from idc_eval.whole import write_whole
from idc_eval.wording import did_you_mean

MAX_CELLS = 16_384
"""Limit for a change map: 128 x 128."""

MAX_CAPTION = 20_000
"""Maximum characters of a caption. Longer ones come from broken files, and some metrics take quadratic time."""


def _inside(name: str) -> str:
    if not lies_below(name):
        raise ValueError("expected the name of a file beside or below the predictions file, with / between folders")
    return name


def _short(caption: str) -> str:
    if len(caption) > MAX_CAPTION:
        raise ValueError(f"{len(caption):,} characters, expected a caption of at most {MAX_CAPTION:,}")
    return caption


def _rectangle(rows: list[list[float]]) -> list[list[float]]:
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows) or len(rows) * len(rows[0]) > MAX_CELLS:
        raise ValueError(f"expected rows of equal length, at most {MAX_CELLS} numbers in all")
    if any(not 0 <= value <= 1 for row in rows for value in row):
        raise ValueError("expected numbers from 0 to 1")
    return rows


Caption = Annotated[str, AfterValidator(_short)]
FileName = Annotated[str, AfterValidator(_inside)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Box = Annotated[list[Fraction], Field(min_length=4, max_length=4)]
"""x, y, width and height as fractions of the image's width and height; x and y are the upper left corner."""


class Regions(BaseModel):
    """The boxes of the change on each image; a side where the object does not exist has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    before: list[Box] = []
    after: list[Box] = []


class Prediction(BaseModel):
    """The generated caption (hypothesis) of one pair and the human captions (references) to compare it with.

    Attributes:
        id: Id of the pair; unique in a file.
        hypothesis: The generated caption; may be empty.
        references: The human captions, at least one.
        changed: Whether anything changed between before and after; None if unknown.
        change_type: Kind of change, as the data set names it; `none` for a distractor.
        truth: Machine-readable facts of a procedural scene, see `idc_eval.scene_truth`.
        log_prob: The model's log-probability of the hypothesis.
        familiar: How similar the images are to the training images, 0 to 1.
        before: The earlier image: a file beside or below the predictions file.
        after: The later image, likewise.
        change_map: Where the model sees the change, 0..1: rows of a grid over the image, from top to bottom.
        regions: Where the change is.
        swapped: The model's caption for the images in reverse order.
        difficulty: Measures of how hard the pair is, by name, such as `viewpoint_overlap` or `change_size`.
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
    """Read and check a predictions file: JSON lines, or a format of other tools (see `idc_eval.forms`).

    Args:
        path: The file.
        annotations: File with the references, if `path` has only captions, as COCO results do.
        tell: Called with one message about ignored fields, and one about pairs that are not scored.

    Returns:
        The predictions in the file's order.

    Raises:
        ValueError: A line is not a prediction, an id occurs twice, the two files have different pairs, or there are no
            predictions; names the file and the line.
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
                "write one line per pair, with all its references"
            )
        seen[prediction.id] = _place(where, path)
        predictions.append(prediction)
        unknown |= dict.fromkeys(row.keys() - Prediction.model_fields.keys())
    if not predictions and not failed:
        raise ValueError(
            f"{path}:1: the file is empty, expected one JSON object per line with id, hypothesis, references"
        )
    if failed:
        message = f"{path}: {len(failed):,} of {len(failed) + len(predictions):,} pairs have an error and no caption"
        if not predictions:
            raise ValueError(f"{message}, the first: {failed[0]}")
        tell(f"{message}; they are not scored. The first: {failed[0]}")
    if unknown:
        tell(f"{path}: fields passed over: {passed_over(sorted(unknown), Prediction.model_fields)}")
    return predictions


def _rows(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return the rows of a file with the field names of `Prediction`, and the errors of pairs without a caption."""
    rows, failed = [], []
    for number, (where, row) in enumerate(read_rows(path), 1):
        if not isinstance(row, dict):
            raise ValueError(
                f"{where}: {str(row)[:60]!r} is not an object; expected {{id, hypothesis, references, ...}}"
            )
        if error := failure(row):
            failed.append(error)
        else:
            rows.append((where, in_our_words(row, number)))
    return rows, failed


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write a predictions file, whole or not at all: a crash leaves an existing file unchanged.

    Args:
        path: The file; its folder must exist.
        predictions: The predictions, one line each.
    """
    write_whole(Path(path), (p.model_dump_json(exclude_none=True, exclude_defaults=True) + "\n" for p in predictions))


def explain(error: ValidationError, known: Iterable[str] = ()) -> str:
    """Word a pydantic error in one line: the field, its value, what was expected, what may have been meant."""
    sentences = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"]) or "the object"
        if problem["type"] == "missing":
            sentences.append(f"{field} is missing, add it")
        elif problem["type"] == "extra_forbidden":
            sentences.append(f"unknown field {field!r}, {did_you_mean(field, known, 'remove it')}")
        else:
            value = repr(problem["input"])
            value = value if len(value) <= 80 else value[:77] + "..."
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
            sentences.append(f"{field} is {value}: {message}")
    return "; ".join(sentences)


def _parse(row: Mapping[str, Any]) -> Prediction:
    try:
        return Prediction.model_validate({key: value for key, value in row.items() if key in Prediction.model_fields})
    except ValidationError as error:
        message = explain(error, Prediction.model_fields)
        # A missing field may be there under a misspelt name.
        if "is missing" in message and (unknown := sorted(row.keys() - Prediction.model_fields.keys())):
            message += f"; unknown fields: {passed_over(unknown, Prediction.model_fields)}"
        if "references" not in row:
            message += "; if the references are in another file, give it with --annotations"
        raise ValueError(message) from error


def _place(where: str, path: Path) -> str:
    place = where.removeprefix(str(path)).lstrip(":, ")
    return f"line {place}" if place.isdecimal() else place
