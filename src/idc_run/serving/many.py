"""Many pairs from the command line: out of two folders or a JSONL file, through a captioner, into records."""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from idc_data.images import image_files, passed_over
from idc_data.places import found
from idc_models.serving.inference import Caption

BATCH = 16


@runtime_checkable
class Captioner(Protocol):
    """A model, here or elsewhere."""

    @property
    def caption(self) -> Callable[..., list[Caption]]:
        """Captions pairs of images in one batch; takes settings as keywords."""
        ...


@dataclass(frozen=True)
class Row:
    """One pair to caption.

    Attributes:
        name: What tells it from the others, as a path below no folder.
        given: What its record begins with: the two images, and whatever else its line has.
        before: The earlier image; None where the line is at fault.
        after: The later image.
        error: What is wrong with the line.
    """

    name: Path
    given: dict[str, Any]
    before: Path | None = None
    after: Path | None = None
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """Pairs to caption.

    Attributes:
        rows: The pairs.
        total: How many.
        key: What tells these pairs from others; None if they can only be read once.
        alone: Images that have no partner.
        others: Files beside them that are no images by their names.
    """

    rows: Iterable[Row]
    total: int | None = None
    key: str | None = None
    alone: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def from_folders(before: Path, after: Path) -> Source:
    """Pair the images of two folders, and those of folders inside, by equal names.

    Names that differ in their Unicode form only are equal: macOS writes an accent as a sign of its own.

    Raises:
        ValueError: No name is in both, or two of one folder are equal.
    """
    listed = [image_files(folder) for folder in (before, after)]
    others = tuple(
        folder / path for folder, files in zip((before, after), listed, strict=True) for path in files.others
    )
    first, second = _by_name(before, listed[0].images), _by_name(after, listed[1].images)
    both = sorted(first.keys() & second.keys())
    if not both:
        counts = f"{len(first)} images in {before}, {len(second)} in {after}"
        left = f" ({passed_over(others)})" if others else ""
        raise ValueError(
            f"no pair: {counts}{left}, and no name is in both; an image and its later one need the same name"
        )
    alone = sorted([first[name] for name in first.keys() - second] + [second[name] for name in second.keys() - first])
    rows = [
        Row(name, {"before": str(first[name]), "after": str(second[name])}, first[name], second[name]) for name in both
    ]
    return Source(rows, len(rows), digest([row.given for row in rows]), tuple(alone), others)


def _by_name(folder: Path, images: Iterable[Path]) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for image in images:
        name = Path(unicodedata.normalize("NFC", str(image)))
        if name in found:
            raise ValueError(f"{folder} has {str(name)!r} twice, in two Unicode forms; rename one of them")
        found[name] = folder / image
    return found


def from_jsonl(file: IO[str], folder: Path) -> Source:
    """Read pairs from lines of JSON, as they come.

    Args:
        file: Objects with the keys `before` and `after`, or `before_file_name` and `after_file_name` as the metadata of
            datasets have them; empty lines are left out.
        folder: What their paths are relative to.
    """
    if not file.seekable():
        return Source(_rows(file, folder))
    text = file.read()
    lines = text.split("\n")  # splitlines would cut at signs that JSON has within its texts
    return Source(_rows(lines, folder), sum(map(bool, map(str.strip, lines))), digest(text))


def _rows(lines: Iterable[str], folder: Path) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix("\ufeff")  # the byte order mark of some editors
        if not line.strip():
            continue
        name = Path(str(number))
        try:
            given = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(name, {"line": number}, error=f"line {number} is no JSON: {error}")
            continue
        if not isinstance(given, dict):
            yield Row(name, {"line": number}, error=f"line {number} is no object; expected one with before and after")
            continue
        sides = side_of(given, "before"), side_of(given, "after")
        if isinstance(sides[0], str) and isinstance(sides[1], str):
            yield Row(name, given, found(folder, sides[0]), found(folder, sides[1]))
        else:
            yield Row(name, given, error="expected paths of images under both before and after")


def caption_rows(
    captioner: Captioner, rows: Iterable[Row], settings: dict[str, Any]
) -> Iterator[tuple[Row, Caption | str]]:
    """Caption pairs in batches; each row comes back with its caption, or with what is wrong with it.

    Raises:
        ConnectionError: The server of the model has gone.
    """
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        good = [row for row in batch if row.error is None]
        said = dict(zip(map(id, good), _caption(captioner, good, settings), strict=True))
        for row in batch:
            yield row, row.error if row.error is not None else said[id(row)]


def _caption(captioner: Captioner, rows: Sequence[Row], settings: dict[str, Any]) -> Sequence[Caption | str]:
    pairs = [(row.before, row.after) for row in rows if row.before and row.after]
    if not pairs:
        return []
    try:
        return captioner.caption(pairs, **settings)
    except ConnectionError:
        raise
    except (ValueError, OSError) as error:
        if len(rows) == 1:
            return [" ".join(str(error).split())]
    # One of them is at fault, and the others shall not suffer.
    return [each for row in rows for each in _caption(captioner, [row], settings)]


def side_of(given: dict[str, Any], side: str) -> Any:
    """Give the image of one side that a line names."""
    return given[side] if given.get(side) is not None else given.get(f"{side}_file_name")


def digest(what: Any) -> str:
    """Give what tells plain values from others, in 12 hex digits."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
