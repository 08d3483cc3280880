"""Validation of a dataset on disk: everything that would spoil a training or a score, all at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from idc_data.example import SPLITS, Box
from idc_data.images import load_image
from idc_data.layout import METADATA, Row, image_path, parse_row


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a dataset; as text, `file:line: severity: what is wrong`.

    Attributes:
        file: The metadata.jsonl, or the folder that should have one.
        line: Line in that file, from 1; 0 where the problem is the file itself.
        severity: An `error` makes the dataset unusable or its scores untrue; a `warning` deserves a look.
        message: What was found and what was expected.
    """

    file: Path
    line: int
    severity: Literal["error", "warning"]
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{place}: {self.severity}: {self.message}"


def check_dataset(root: Path) -> list[Problem]:
    """Look at every line and every image of a dataset in the project's own layout.

    Found are: lines that are not valid; images that are missing, damaged, outside of the folder, or of unequal size in
    a pair; ids that come twice in any split; the same image in two splits; blank or repeated references; boxes beyond
    the image; changed and change_type at odds; pairs said to be changed whose files are equal; images of no line.

    Returns:
        The problems in the order of the files; none for a clean dataset.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {str(root)!r}")
    files = [root / split / METADATA for split in SPLITS if (root / split / METADATA).is_file()]
    if not files:
        return [Problem(root, 0, "error", f"no {METADATA} in any of {', '.join(SPLITS)}: it holds no dataset")]
    check = _Check()
    return [problem for file in files for problem in check.split(file)]


class _Check:
    """What has been seen in the splits so far, so that doubles are found across them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}  # id -> file:line of its first use
        self._images: dict[bytes, tuple[Path, str]] = {}  # hash -> metadata.jsonl and file:line of its first use

    def split(self, file: Path) -> Iterator[Problem]:
        used = {METADATA}
        number = 0
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = parse_row(line, "")
                except ValueError as error:
                    yield Problem(file, number, "error", str(error).removeprefix(": "))
                    continue
                used |= {Path(row.before_file_name).as_posix(), Path(row.after_file_name).as_posix()}
                yield from self._row(file, number, row)
        if not number:
            yield Problem(file, 0, "error", "it is empty, expected one JSON object per line")
        unused = {path.relative_to(file.parent).as_posix() for path in file.parent.rglob("*") if path.is_file()} - used
        if unused:
            example = min(unused)
            yield Problem(file, 0, "warning", f"{len(unused)} files in the folder are named by no line, as {example!r}")

    def _row(self, file: Path, number: int, row: Row) -> Iterator[Problem]:
        place = f"{file}:{number}"
        if first := self._ids.get(row.id):
            yield Problem(file, number, "error", f"the id {row.id!r} is that of {first} too")
        self._ids.setdefault(row.id, place)
        if not all(reference.strip() for reference in row.references):
            yield Problem(file, number, "error", "a reference is blank")
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
            yield Problem(file, number, "error", f"the images are {sizes} pixels, expected equal sizes")
        if row.regions:
            for side, boxes in (("before", row.regions.before), ("after", row.regions.after)):
                for box in boxes:
                    if not _inside(box, *shapes[side]):
                        height, width = shapes[side]
                        what = f"the box {box} is not inside of the {side} image ({width} x {height})"
                        yield Problem(file, number, "error", what)


def _inside(box: Box, height: int, width: int) -> bool:
    x, y, w, h = box
    return bool(np.isfinite(box).all()) and w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width and y + h <= height
