"""Base class of readers of published datasets: reads records of annotation files and merges them into pairs."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar

from idc_data.example import SPLITS, ChangeExample, Regions
from idc_data.fingerprint import fingerprint
from idc_data.places import image_path
from idc_data.readers.masks import regions_of_mask
from idc_data.text import read_text
from idc_data.unchanged import claims_change
from idc_data.wording import counted

_KINDS: dict[Any, str] = {str: "a text", list: "a list", dict: "an object", str | int: "a text or a number"}


@dataclass(frozen=True)
class Record:
    """A record of an annotation file; several records may describe the same pair.

    Attributes:
        id: Id of the pair in the dataset.
        before: The before image, relative to the root.
        after: The after image, likewise.
        sentences: The sentences as written, including blank ones.
        where: Place of the record in its file, for messages.
        changed: Whether the pair changed, if the dataset states it other than in sentences.
        change_type: The dataset's change type, in our terms.
        mask: Mask of the changed pixels: an image relative to the root, black where nothing changed.
    """

    id: str
    before: str
    after: str
    sentences: tuple[str, ...]
    where: str
    changed: bool | None = None
    change_type: str | None = None
    mask: str | None = None
    regions: Regions | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    truth: dict[str, Any] | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """Return the sentences that are not blank, without surrounding white space."""
        return tuple(text.strip() for text in self.sentences if text.strip())


class Published(Sequence[ChangeExample]):
    """A split of a published dataset. A subclass defines the names of its files, and how to read their records.

    Records of the same two images are merged. Blank sentences and pairs without other sentences are omitted, and a log
    message counts them. Whether a pair changed is stated by the dataset, or else inferred from its sentences.

    Args:
        split: train, val or test.
        whole: Whether missing files are an error; a check of the dataset continues without them.
        root: The folder of the dataset.

    Raises:
        ValueError: A file is not in the published format, or the split is empty.
        OSError: A file is missing.
    """

    endless = False
    name: ClassVar[str]
    layout: ClassVar[str]
    """Description of the layout, for messages."""
    published: ClassVar[Mapping[str, int]] = {}
    """Published number of pairs of each split."""
    no_change: ClassVar[tuple[str, ...]] = ()
    """The dataset's own no-change sentences, in addition to those recognised in any dataset."""
    folders: tuple[str, ...] = ()
    """Folders of its images below the root."""
    observed: ClassVar[bool] = True
    """Whether `changed` was determined for each record, rather than set for all pairs."""

    def __init__(self, split: str, whole: bool = True, *, root: Path) -> None:
        self.split, self.root = split, Path(root)
        self.missing: list[str] = []  # annotation files
        self._files: list[Path] = []
        self._whole = whole
        self.images: list[Path] = []  # before and after of each pair in turn, if none may be missing
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
        self.records = list(self.read())
        self.pairs = merged(record for record in self.records if record.references)
        if not whole:
            return
        if not self.pairs:
            raise ValueError(f"{str(self.root)!r} has no pairs with sentences in {split!r}; expected {self.layout}")
        self.images = [self.image(pair, name) for pair in self.pairs for name in (pair.before, pair.after)]
        self.fingerprint = fingerprint(
            [self.name, split, *self.settings()], annotations=self._files, images=self.images
        )
        blank = sum(not text.strip() for record in self.records for text in record.sentences)
        without = len(merged(self.records)) - len(self.pairs)
        if len(self.pairs) < len(self.records) or blank:
            logging.getLogger(__name__).warning(
                f"{self.name} {split}: {counted(len(self.records), 'record')} for {counted(len(self.pairs), 'pair')}; "
                f"left out: {counted(blank, 'blank sentence')}, {counted(without, 'pair')} without any other"
            )

    def read(self) -> Iterator[Record]:
        """Read the records of the split, in the order of the files."""
        raise NotImplementedError

    def settings(self) -> tuple[Any, ...]:
        """The values of settings that change what is read, for the fingerprint."""
        return ()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        pair = self.pairs[index]
        changed = self.changed(pair)
        regions = pair.regions
        if pair.mask and changed:
            regions = regions_of_mask(self.image(pair, pair.mask))
        images = self.images[2 * index : 2 * index + 2]
        before, after = images or (self.image(pair, name) for name in (pair.before, pair.after))
        return ChangeExample(
            id=pair.id,
            before=before,
            after=after,
            references=pair.references,
            changed=changed,
            change_type=(pair.change_type or "change") if changed else "none",
            split=self.split,
            regions=regions,
            provenance={"dataset": self.name, **pair.provenance},
            truth=pair.truth,
        )

    def changed(self, pair: Record) -> bool:
        """Return whether a pair changed, as stated by the dataset, or else by its sentences."""
        return claims_change(pair.references, self.no_change) if pair.changed is None else pair.changed

    def annotation(self, *names: str, optional: bool = False) -> Path | None:
        """Return the first existing annotation file of several names that it has in different releases.

        Raises:
            FileNotFoundError: None exists.
        """
        for name in names:
            if (path := self.root / name).is_file():
                self._files.append(path)
                return path
        if not optional:
            if self._whole:
                raise FileNotFoundError(f"there is no {str(self.root / names[0])!r}; {self.name} is {self.layout}")
            self.missing.append(names[0])
        return None

    def json(self, *names: str, kind: type[Any] = dict, optional: bool = False) -> Any:
        """Return the content of an annotation file, a list or a dictionary; empty if a permitted file is missing.

        Raises:
            ValueError: It is not JSON, or has another type.
            OSError: It is missing.
        """
        path = self.annotation(*names, optional=optional)
        return kind() if path is None else read_json(path, kind)

    def image(self, pair: Record, name: str) -> Path:
        """Return the file of an image or a mask of a pair.

        Raises:
            ValueError: Its name or a link leads out of the root.
            FileNotFoundError: There is no such file.
        """
        try:
            return image_path(self.root, name, line=pair.where, dataset=self.root)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"there is no {str(self.root / name)!r} ({pair.where}); {self.name} is {self.layout}"
            ) from error


def merged(records: Iterable[Record]) -> list[Record]:
    """Merge records of the same two images: new sentences of later records are appended.

    If different images have the same id, a number is appended to it.
    """
    pairs: dict[tuple[str, str], Record] = {}
    for record in records:
        images = (record.before, record.after)
        if first := pairs.get(images):
            new = (text for text in record.references if text not in first.references)
            pairs[images] = replace(first, sentences=(*first.references, *dict.fromkeys(new)))
        else:
            pairs[images] = record
    taken: set[str] = set()
    for images, pair in pairs.items():
        free = pair.id
        numbers = count(2)
        while free in taken:
            free = f"{pair.id}-{next(numbers)}"
        taken.add(free)
        pairs[images] = replace(pair, id=free)
    return list(pairs.values())


def read_json(path: Path, kind: type[Any] | UnionType) -> Any:
    """Read a JSON file with a list or a dictionary.

    Raises:
        ValueError: It is not JSON, or has another type.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        hint = "; it is a web page: download the file again" if b"<html" in path.read_bytes()[:999] else ""
        raise ValueError(f"{str(path)!r} is not JSON: {error}{hint}") from error
    if not isinstance(content, kind):
        raise ValueError(
            f"{str(path)!r} holds a {type(content).__name__}, expected {_KINDS.get(kind, 'another type')} as published"
        )
    return content


def field_of(record: Any, name: str, kind: type[Any] | UnionType, where: str) -> Any:
    """Return a value of a record.

    Raises:
        ValueError: It is missing or has another type.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {name} is {value!r:.80}, expected {_KINDS.get(kind, 'another type')} as published")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of sentences as a tuple; a single sentence is accepted too.

    Raises:
        ValueError: The value is neither.
    """
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: the sentences are {value!r:.80}, expected a list of texts as published")
    return tuple(value)
