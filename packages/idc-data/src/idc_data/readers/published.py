"""What readers of published datasets share: records as the annotation files have them, merged into pairs."""

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
    """What one record of an annotation file says of a pair; several may say something of one pair.

    Attributes:
        id: Name of the pair, as the dataset has it.
        before: The earlier image, relative to the root; or pixels are found by it otherwise.
        after: The later image, likewise.
        sentences: As written, blank ones too.
        where: The record in its file, for people.
        changed: What the dataset says other than by its sentences, if it says so.
        change_type: As the dataset names it, in our words.
        mask: Of the pixels that changed: an image relative to the root, black where nothing did.
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
        """The sentences that are not blank, without the blanks around them."""
        return tuple(text.strip() for text in self.sentences if text.strip())


class Published(Sequence[ChangeExample]):
    """A split of a published dataset. A reader says what its files are called, and how to read their records.

    Records of one pair of images are merged, blank sentences are left out, and so are pairs without any; one note
    counts them. Whether a pair changed is what the dataset says, or else its sentences.

    Args:
        split: train, val or test.
        whole: Whether files that are missing are an error; a check of the dataset reads on without them.
        root: The folder of the dataset.

    Raises:
        ValueError: A file is not as published, or there is nothing in the split.
        OSError: A file is missing.
    """

    endless = False
    name: ClassVar[str]
    layout: ClassVar[str]
    """How the files lie, for people."""
    published: ClassVar[Mapping[str, int]] = {}
    """Pairs of each split, as published."""
    no_change: ClassVar[tuple[str, ...]] = ()
    """Sentences by which the dataset says that nothing changed, beside those that are read in any dataset."""
    folders: tuple[str, ...] = ()
    """Where below the root its images lie."""
    observed: ClassVar[bool] = True
    """Whether `changed` of its records was observed, and is not just so for every pair."""

    def __init__(self, split: str, whole: bool = True, *, root: Path) -> None:
        self.split, self.root = split, Path(root)
        self.missing: list[str] = []  # annotation files
        self._files: list[Path] = []
        self._whole = whole
        self.images: list[Path] = []  # before and after of one pair after the other, where none may be missing
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
        self.records = list(self.read())
        self.pairs = merged(record for record in self.records if record.references)
        if not whole:
            return
        if not self.pairs:
            raise ValueError(f"{str(self.root)!r} has no pair with a sentence in {split!r}; expected {self.layout}")
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
        """Whether a pair changed: what the dataset says of it, or else its sentences."""
        return claims_change(pair.references, self.no_change) if pair.changed is None else pair.changed

    def annotation(self, *names: str, optional: bool = False) -> Path | None:
        """The first of some annotation files that there is; they are one file under the names of several releases.

        Raises:
            FileNotFoundError: There is none.
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
        """The content of an annotation file, which is a list or a dictionary; empty where it is missing.

        Raises:
            ValueError: It is no JSON, or holds something else.
            OSError: It is missing.
        """
        path = self.annotation(*names, optional=optional)
        return kind() if path is None else read_json(path, kind)

    def image(self, pair: Record, name: str) -> Path:
        """The file of an image or a mask of a pair.

        Raises:
            ValueError: Its name or a link leads out of the root.
            FileNotFoundError: There is none.
        """
        try:
            return image_path(self.root, name, line=pair.where, dataset=self.root)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"there is no {str(self.root / name)!r} ({pair.where}); {self.name} is {self.layout}"
            ) from error


def merged(records: Iterable[Record]) -> list[Record]:
    """Bring records of the same two images together: sentences of later ones follow, those that are new.

    Names that come twice for different images get a number.
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
    """Read a JSON file that holds a list or a dictionary.

    Raises:
        ValueError: It is none.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        hint = "; a web page was saved in its place, download it again" if b"<html" in path.read_bytes()[:999] else ""
        raise ValueError(f"{str(path)!r} is no JSON: {error}{hint}") from error
    if not isinstance(content, kind):
        raise ValueError(
            f"{str(path)!r} holds a {type(content).__name__}, expected {_KINDS.get(kind, 'another')} as published"
        )
    return content


def field_of(record: Any, name: str, kind: type[Any] | UnionType, where: str) -> Any:
    """A value of a record.

    Raises:
        ValueError: It is missing or of another type.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {name} is {value!r:.80}, expected {_KINDS.get(kind, 'another')} as published")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of sentences; one sentence is as good as a list of one.

    Raises:
        ValueError: It is none.
    """
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: the sentences are {value!r:.80}, expected a list of texts as published")
    return tuple(value)
