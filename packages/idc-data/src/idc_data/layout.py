"""The on-disk layout: `<dataset>/<split>/metadata.jsonl` and images, which Hugging Face `datasets` can also read."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from PIL import Image

from idc_data.example import SPLITS, ChangeExample
from idc_data.fingerprint import fingerprint
from idc_data.images import load_pair
from idc_data.index import LARGE, IndexedRows
from idc_data.places import image_path
from idc_data.rows import METADATA, Row, read_rows
from idc_data.text import is_utf16
from idc_data.unchanged import NO_CHANGE

GENERATION = "generation.json"
"""File that describes how `idc-data generate` made a dataset."""

ALIKE = {
    "train": ("training",),
    "val": ("validation", "valid", "dev", "development"),
    "test": ("testing", "tests", "evaluation", "eval"),
}
"""Other common names of the splits."""


class Folder(Sequence[ChangeExample]):
    """A split of a dataset in the project's own layout.

    The lines are read and checked immediately, the images on demand (`before` and `after` are paths). The lines of a
    large metadata.jsonl are checked once, and read on demand (see `idc_data.index`).

    Args:
        split: train, val or test: the folder below `root`.
        root: The folder of the dataset.

    Raises:
        ValueError: A line is invalid, an id is used twice, or a file name leads out of the folder; the message names
            file and line.
        OSError: The metadata or an image is missing.
    """

    endless = False

    def __init__(self, split: str, *, root: Path) -> None:
        self.split = split
        self._folder = Path(root) / split
        metadata = self._folder / METADATA
        if not metadata.is_file():
            raise FileNotFoundError(_no_split(Path(root), split))
        self._indexed = None
        if metadata.stat().st_size >= LARGE and not is_utf16(metadata):
            self._indexed = IndexedRows(metadata)
            self.fingerprint = self._indexed.fingerprint
            return
        self._rows: list[Row] = []
        seen: set[str] = set()
        self._images = images = list[Path]()  # before and after of each row in turn
        for number, row in read_rows(metadata):
            if row.id in seen:
                raise ValueError(f"{metadata}:{number}: the id {row.id!r} is used twice, expected a unique id")
            for name in (row.before_file_name, row.after_file_name):
                images.append(image_path(self._folder, name, line=f"{metadata}:{number}"))
            seen.add(row.id)
            self._rows.append(row)
        if not self._rows:
            raise ValueError(f"{metadata} is empty, expected one JSON object per line")
        sentences = Path(root) / NO_CHANGE
        annotations = [metadata, *([sentences] if sentences.is_file() else [])]
        self.fingerprint = fingerprint(["folder", split], annotations=annotations, images=images)

    def __len__(self) -> int:
        return len(self._rows if self._indexed is None else self._indexed)

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._indexed is None:
            row = self._rows[index]
            before, after = self._images[2 * index], self._images[2 * index + 1]
        else:
            where, row = self._indexed.line(index)
            names = (row.before_file_name, row.after_file_name)
            before, after = (image_path(self._folder, name, line=where) for name in names)
        return ChangeExample(
            before=before,
            after=after,
            split=self.split,
            **{name: getattr(row, name) for name in Row.model_fields if not name.endswith("file_name")},
        )


def misnamed(root: Path, split: str) -> Path | None:
    """Return the folder of a split under another name, such as `validation`; None if there is none."""
    return next(
        (
            metadata.parent
            for metadata in sorted(root.glob(f"*/{METADATA}"))
            if metadata.parent.name not in SPLITS and metadata.parent.name.lower() in (split, *ALIKE[split])
        ),
        None,
    )


def renamed(folder: Path, split: str) -> str:
    """Return the command that renames a folder to a split."""
    return shlex.join(["mv", str(folder), str(folder.with_name(split))])


def _no_split(root: Path, split: str) -> str:
    """Return why a split cannot be read, and what to do."""
    if not root.is_dir():
        return f"there is no folder {str(root)!r}"
    if split in SPLITS and (other := misnamed(root, split)):
        return f"{str(root)!r} has {other.name!r} instead of {split!r}: rename the folder, {renamed(other, split)}"
    if (root / METADATA).is_file() and root.resolve().name in SPLITS:
        return f"{str(root)!r} is a split; expected the folder of the dataset, {str(root.parent)!r}"
    there = [name for name in SPLITS if (root / name / METADATA).is_file()]
    return f"no {str(root / split / METADATA)!r}: expected <dataset>/<split>/{METADATA}, " + (
        f"and {str(root)!r} has only {', '.join(there)}" if there else f"and {str(root)!r} has no split"
    )


def write_layout(root: Path, examples: Iterable[ChangeExample], *, overwrite: bool = False) -> dict[str, int]:
    """Write examples as a dataset, each into the folder of its split, with images as PNG.

    A new dataset is first written to a hidden folder next to it, and a split of an existing dataset to a hidden folder
    inside it. The folders are renamed when they are complete: an interrupted write leaves no folder that looks
    complete, and the next write removes what it left.

    Args:
        root: The folder of the dataset; its other splits are not changed.
        examples: The examples, in the order of writing; an iterator is consumed one by one.
        overwrite: Replace existing splits, which are an error otherwise.

    Returns:
        Split -> number of examples.

    Raises:
        ValueError: A split exists or is not one of train, val, test; an id is used twice; an image is damaged; an
            example has no references; there are no examples.
    """
    if not root.exists():
        draft = root.with_name(f".{root.name}.unfinished")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            counts = write_layout(draft, examples)
            draft.replace(root)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return counts
    counts: dict[str, int] = {}
    seen: set[str] = set()
    with ExitStack() as stack:
        files: dict[str, TextIO] = {}
        for example in examples:
            split = example.split
            if split not in files:
                stack.callback(shutil.rmtree, _unfinished(root, split), ignore_errors=True)
                files[split] = stack.enter_context(_start(root, split, overwrite=overwrite))
            if example.id in seen:
                raise ValueError(f"the id {example.id!r} is used twice, expected a unique id for every example")
            seen.add(example.id)
            files[split].write(_write_example(_unfinished(root, split), example) + "\n")
            counts[split] = counts.get(split, 0) + 1
        if not counts:
            raise ValueError("there are no examples to write")
        for split, file in files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            if overwrite:
                shutil.rmtree(root / split, ignore_errors=True)
            _unfinished(root, split).replace(root / split)
    return counts


def _unfinished(root: Path, split: str) -> Path:
    return root / f".{split}.unfinished"  # hidden, so that Hugging Face datasets ignores it


def _start(root: Path, split: str, *, overwrite: bool) -> TextIO:
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    target = root / split
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if not overwrite:
            raise ValueError(f"{str(target)!r} already exists: choose another folder, or ask to overwrite it")
        if not (target / METADATA).is_file():
            raise ValueError(f"{str(target)!r} has no {METADATA}, so it is not overwritten: remove it yourself")
    shutil.rmtree(_unfinished(root, split), ignore_errors=True)
    _unfinished(root, split).mkdir(parents=True)
    return (_unfinished(root, split) / METADATA).open("w", encoding="utf-8")


def _write_example(folder: Path, example: ChangeExample) -> str:
    """Write the two images; return the line of the metadata."""
    if not example.references or not all(reference.strip() for reference in example.references):
        raise ValueError(
            f"example {example.id!r} has references {example.references!r}, expected at least one, none of them blank"
        )
    names = {}
    for side, image in zip(("before", "after"), load_pair(example.before, example.after), strict=True):
        names[side] = f"{_file_stem(example.id)}_{side}.png"
        Image.fromarray(image).save(folder / names[side])
    regions = example.regions
    return json.dumps(
        {
            "id": example.id,
            "before_file_name": names["before"],
            "after_file_name": names["after"],
            "references": example.references,
            "changed": example.changed,
            "change_type": example.change_type,
            "regions": None if regions is None else {"before": regions.before, "after": regions.after},
            "provenance": example.provenance,
            "truth": example.truth,
        },
        ensure_ascii=False,
        allow_nan=False,
    )


def _file_stem(identity: str) -> str:
    """Return the id if it is a plain file name; otherwise its plain characters and a hash that keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", identity)[:80]
    return plain if plain == identity else f"{plain}-{sha256(identity.encode()).hexdigest()[:12]}"
