"""Validation of a dataset on disk: reports everything that would spoil a training or a score."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from idc_data.example import SPLITS, Box
from idc_data.images import image_files, load_image
from idc_data.layout import misnamed, renamed
from idc_data.places import below, image_path, plain_name
from idc_data.rows import METADATA, Line, Row, numbered, own_columns, parse_line, unread
from idc_data.unchanged import NO_CHANGE, claims_change, look_english, no_change_sentences
from idc_data.wording import counted

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """A problem in a dataset; as text, `file:line: severity: message`.

    Attributes:
        file: The metadata.jsonl, or the folder that should have one.
        line: Line in that file, from 1; 0 if the problem concerns the file as a whole.
        severity: An `error` makes the dataset unusable or its scores wrong; a `warning` deserves a look; a `note` is
            information only.
        message: What was found and what was expected.
    """

    file: Path
    line: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{place}: {self.severity}: {self.message}"


def check_dataset(root: Path) -> list[Problem]:
    """Check every line and every image of a dataset in the project's own layout.

    It finds: invalid lines; images that are missing, damaged, outside the folder, or of different sizes within a pair;
    duplicate ids across all splits; the same image in two splits; blank or repeated references; boxes outside the
    image; contradictions between changed and change_type, or between changed and the captions, if these can be
    interpreted; changed pairs whose two files are equal; images that no line names; and splits under another name,
    such as `validation`.

    Returns:
        The problems in the order of the files, see `grouped`; empty for a clean dataset.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {str(root)!r}")
    files = [root / split / METADATA for split in SPLITS if (root / split / METADATA).is_file()]
    missing = {split: misnamed(root, split) for split in SPLITS if root / split / METADATA not in files}
    problems = [
        Problem(other, 0, "error", f"it is ignored, and there is no {split!r}: rename it, {renamed(other, split)}")
        for split, other in missing.items()
        if other
    ]
    if not files and not problems:
        return [Problem(root, 0, "error", f"no {METADATA} in any of {', '.join(SPLITS)}: it is not a dataset")]
    check = _Check()
    problems += [problem for file in files for problem in check.split(file)]
    if not any(file.parent.name == "train" for file in files) and not missing.get("train"):
        problems.append(Problem(root, 0, "note", "it has no 'train' split: models can be tested on it, not trained"))
    if check.own:
        file, number = next(iter(check.own.values()))
        problems.append(Problem(file, number, "note", own_columns(check.own)))
    return problems


def grouped(problems: Sequence[Problem], *, examples: int = 3) -> Iterator[str]:
    """Return problems as lines of text, grouped by kind: the first few in full, then the number of further ones.

    Args:
        problems: The result of `check_dataset`.
        examples: How many of each kind to print in full.
    """
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|[\d.]+", "*", problem.message.replace(str(problem.file.parent), ""))
        kinds.setdefault((problem.severity, kind), []).append(problem)
    for alike in kinds.values():
        shown = alike[: examples if len(alike) > examples + 1 else None]
        yield from map(str, shown)
        if rest := len(alike) - len(shown):
            yield f"  and {rest:,} more of this kind, the last at {alike[-1].file}:{alike[-1].line}"


class _Check:
    """State of the check across splits, to find duplicates between them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}  # id -> file:line of its first use
        self._images: dict[bytes, tuple[Path, str]] = {}  # hash -> metadata.jsonl and file:line of its first use
        self.own: dict[str, tuple[Path, int]] = {}  # the user's own columns -> where they first occur

    def split(self, file: Path) -> Iterator[Problem]:
        try:
            texts = numbered(file)
            sentences = no_change_sentences(file.parent.parent)
        except ValueError as error:
            yield Problem(file, 0, "error", str(error).removeprefix(f"{file}: "))
            return
        if not texts:
            yield Problem(file, 0, "error", "it is empty, expected one JSON object per line")
        lines, problems = list[Line](), list[Problem]()
        for number, text in texts:
            try:
                lines.append(parse_line(text, number, ""))
            except ValueError as error:
                problems.append(Problem(file, number, "error", str(error).removeprefix(": ")))
        if silent := unread(lines, file.parent.parent):
            problems.append(Problem(file, silent[0], "error", silent[1]))
        used = {METADATA}
        for line in lines:
            for name in line.own:
                self.own.setdefault(name, (file, line.number))
            if line.blank:
                problems.append(Problem(file, line.number, "warning", "a reference is blank, and is ignored"))
            try:
                row = line.row(sentences, "")
            except ValueError as error:
                problems.append(Problem(file, line.number, "error", str(error).removeprefix(": ")))
                continue
            used |= {plain_name(below(file.parent, name)) for name in (row.before_file_name, row.after_file_name)}
            problems += self._row(file, line.number, row)
            if (sentences or look_english(row.references)) and claims_change(row.references, sentences) != row.changed:
                problems.append(Problem(file, line.number, "warning", _at_odds(row)))
        yield from sorted(problems, key=lambda problem: problem.line)
        lying = image_files(file.parent)
        unused = {path.as_posix() for path in (*lying.images, *lying.others) if plain_name(path) not in used}
        if unused:
            example = min(unused)
            yield Problem(
                file, 0, "warning", f"no line names {counted(len(unused), 'file')} in the folder, such as {example!r}"
            )

    def _row(self, file: Path, number: int, row: Row) -> Iterator[Problem]:
        place = f"{file}:{number}"
        if first := self._ids.get(row.id):
            yield Problem(file, number, "error", f"the id {row.id!r} is also used in {first}")
        self._ids.setdefault(row.id, place)
        if len(set(row.references)) < len(row.references):
            yield Problem(file, number, "warning", "a reference is repeated")
        if row.changed == (row.change_type == "none"):
            yield Problem(
                file,
                number,
                "error",
                f"changed is {row.changed} and change_type is {row.change_type!r}, expected 'none' if and only if "
                "nothing changed",
            )
        shapes, hashes = {}, {}
        for side, name in (("before", row.before_file_name), ("after", row.after_file_name)):
            try:
                path = image_path(file.parent, name, line="")
                hashes[side] = sha256(path.read_bytes()).digest()
                shapes[side] = load_image(path).shape[:2]
            except (ValueError, OSError) as error:
                yield Problem(file, number, "error", str(error).removeprefix(": "))
                continue
            other, first = self._images.setdefault(hashes[side], (file, place))
            if other != file:
                yield Problem(file, number, "error", f"the {side} image {name!r} is also in another split: {first}")
        if len(shapes) < 2:
            return
        if row.changed and hashes["before"] == hashes["after"]:
            yield Problem(file, number, "warning", "changed is True, but the two images are the same file")
        if shapes["before"] != shapes["after"]:
            sizes = " and ".join(f"{width} x {height}" for height, width in shapes.values())
            told = f"the images are {sizes} pixels: they are scaled differently, so that still objects may seem to move"
            yield Problem(file, number, "warning", told)
        if row.regions:
            for side, boxes in (("before", row.regions.before), ("after", row.regions.after)):
                for box in boxes:
                    if not _inside(box, *shapes[side]):
                        height, width = shapes[side]
                        what = f"the box {box} is not inside the {side} image ({width} x {height})"
                        yield Problem(file, number, "error", what)


def _at_odds(row: Row) -> str:
    """Return the message that `changed` and the captions contradict each other."""
    if row.changed:
        return f"changed is True, but the captions claim no change, such as {row.references[0]!r}; changed is used"
    return (
        f"changed is False, but the captions are read as a change, such as {row.references[0]!r}; changed is used. "
        f"If they mean that nothing changed, list such sentences in {NO_CHANGE}"
    )


def _inside(box: Box, height: int, width: int) -> bool:
    x, y, w, h = box
    return bool(np.isfinite(box).all()) and w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width and y + h <= height
