"""Captioning of many pairs from two folders or a JSONL file."""

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
    """A local or served model."""

    @property
    def caption(self) -> Callable[..., list[Caption]]:
        """Caption pairs of images in one batch; settings are keyword arguments."""
        ...


@dataclass(frozen=True)
class Row:
    """One pair to caption.

    Attributes:
        name: A unique relative path.
        given: The fields of its line: the two images and any others.
        before: The earlier image; None if the line is invalid.
        after: The later image; None if the line is invalid.
        error: Why the line is invalid.
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
        total: Number of pairs, if known.
        key: A hash of the pairs; None if they can be read only once.
        alone: Images without a partner.
        others: Files whose names are not those of images.
    """

    rows: Iterable[Row]
    total: int | None = None
    key: str | None = None
    alone: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def from_folders(before: Path, after: Path) -> Source:
    """Pair the images of two folders, including subfolders, by equal names.

    Names that differ only in their Unicode form are equal, because macOS decomposes accented letters.

    Raises:
        ValueError: No name is in both folders, or a folder has two equal names.
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
        raise ValueError(f"no pair: {counts}{left}, and no name is in both; the images of a pair need the same name")
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
    """Read pairs from JSON lines, lazily.

    Args:
        file: Objects with the keys `before` and `after`, or `before_file_name` and `after_file_name` as in the metadata
            of datasets; empty lines are skipped.
        folder: The folder that paths are relative to.
    """
    if not file.seekable():
        return Source(_rows(file, folder))
    text = file.read()
    lines = text.split("\n")  # splitlines would also split at characters that JSON strings may contain
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
            yield Row(name, {"line": number}, error=f"line {number} is not JSON: {error}")
            continue
        if not isinstance(given, dict):
            yield Row(
                name, {"line": number}, error=f"line {number} is not an object; expected one with before and after"
            )
            continue
        sides = side_of(given, "before"), side_of(given, "after")
        if isinstance(sides[0], str) and isinstance(sides[1], str):
            yield Row(name, given, found(folder, sides[0]), found(folder, sides[1]))
        else:
            yield Row(name, given, error="expected paths of images under both before and after")


def caption_rows(
    captioner: Captioner, rows: Iterable[Row], settings: dict[str, Any]
) -> Iterator[tuple[Row, Caption | str]]:
    """Caption pairs in batches; yield each row with its caption or its error message.

    Raises:
        ConnectionError: The model server is unreachable.
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
    # One of them failed: caption each on its own.
    return [each for row in rows for each in _caption(captioner, [row], settings)]


def side_of(given: dict[str, Any], side: str) -> Any:
    """Return the image path of one side of a line."""
    return given[side] if given.get(side) is not None else given.get(f"{side}_file_name")


def digest(what: Any) -> str:
    """Return a hash of plain values, 12 hex digits."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
