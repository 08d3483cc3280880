"""Validation of a dataset on disk: everything that would spoil a training or a score, all at once."""

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
    """One thing that is wrong with a dataset; as text, `file:line: severity: what is wrong`.

    Attributes:
        file: The metadata.jsonl, or the folder that should have one.
        line: Line in that file, from 1; 0 where the problem is the file itself.
        severity: An `error` makes the dataset unusable or its scores untrue; a `warning` deserves a look; a `note` only
            says what is done.
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
    """Look at every line and every image of a dataset in the project's own layout.

    Found are: lines that are not valid; images that are missing, damaged, outside of the folder, or of unequal size in
    a pair; ids that come twice in any split; the same image in two splits; blank or repeated references; boxes beyond
    the image; changed and change_type at odds, or changed and the captions, where these can be read; pairs said to be
    changed whose files are equal; images of no line; splits under another name, such as `validation`.

    Returns:
        The problems in the order of the files, which `grouped` words; none for a clean dataset.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {str(root)!r}")
    files = [root / split / METADATA for split in SPLITS if (root / split / METADATA).is_file()]
    missing = {split: misnamed(root, split) for split in SPLITS if root / split / METADATA not in files}
    problems = [
        Problem(other, 0, "error", f"it is not read, and there is no {split!r}: rename it, {renamed(other, split)}")
        for split, other in missing.items()
        if other
    ]
    if not files and not problems:
        return [Problem(root, 0, "error", f"no {METADATA} in any of {', '.join(SPLITS)}: it holds no dataset")]
    check = _Check()
    problems += [problem for file in files for problem in check.split(file)]
    if check.own:
        file, number = next(iter(check.own.values()))
        problems.append(Problem(file, number, "note", own_columns(check.own)))
    return problems


def grouped(problems: Sequence[Problem], *, examples: int = 3) -> Iterator[str]:
    """Word problems, those of one kind together: the first few in full, and how many more there are.

    Args:
        problems: As `check_dataset` finds them.
        examples: How many of each kind to give in full.
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
    """What has been seen in the splits so far, so that doubles are found across them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}  # id -> file:line of its first use
        self._images: dict[bytes, tuple[Path, str]] = {}  # hash -> metadata.jsonl and file:line of its first use
        self.own: dict[str, tuple[Path, int]] = {}  # columns of the user's own -> where they are first

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
                problems.append(Problem(file, line.number, "warning", "a reference is blank, and is left out"))
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
            yield Problem(file, number, "error", f"the id {row.id!r} is that of {first} too")
        self._ids.setdefault(row.id, place)
        if len(set(row.references)) < len(row.references):
            yield Problem(file, number, "warning", "a reference comes twice")
        if row.changed == (row.change_type == "none"):
            yield Problem(
                file,
                number,
                "error",
                f"changed is {row.changed} and change_type is {row.change_type!r}, expected 'none' for no change only",
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
                yield Problem(file, number, "error", f"the {side} image {name!r} is in another split too: {first}")
        if len(shapes) < 2:
            return
        if row.changed and hashes["before"] == hashes["after"]:
            yield Problem(file, number, "warning", "changed is True, but the two images are the same file")
        if shapes["before"] != shapes["after"]:
            sizes = " and ".join(f"{width} x {height}" for height, width in shapes.values())
            told = f"the images are {sizes} pixels: each is squeezed on its own, so that what did not move may seem to"
            yield Problem(file, number, "warning", told)
        if row.regions:
            for side, boxes in (("before", row.regions.before), ("after", row.regions.after)):
                for box in boxes:
                    if not _inside(box, *shapes[side]):
                        height, width = shapes[side]
                        what = f"the box {box} is not inside of the {side} image ({width} x {height})"
                        yield Problem(file, number, "error", what)


def _at_odds(row: Row) -> str:
    """Word that `changed` and the captions contradict each other."""
    if row.changed:
        return f"changed is True, but the captions say that nothing changed, as {row.references[0]!r}; changed counts"
    return (
        f"changed is False, but the captions are read as a change, as {row.references[0]!r}; changed counts. "
        f"If they say that nothing changed, list how in {NO_CHANGE}"
    )


def _inside(box: Box, height: int, width: int) -> bool:
    x, y, w, h = box
    return bool(np.isfinite(box).all()) and w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width and y + h <= height
