"""Examines a dataset by its annotation files; `images` examines the images."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from idc_data.doctor.diagnosis import Diagnosis, Pair
from idc_data.doctor.images import look_at_images
from idc_data.example import SPLITS
from idc_data.images import image_files
from idc_data.layout import ALIKE, renamed
from idc_data.readers.masks import changed_pixels
from idc_data.readers.published import Published, Record, merged
from idc_data.unchanged import claims_change, look_english

_ENGLISH = 0.1
"""Minimum share of sentences with an English word: requests such as "make it darker" contain few of these words."""


def examine(reader: type[Published], settings: Mapping[str, Any], *, images: bool = True) -> Diagnosis:
    """Find what would spoil a training or a score, in all splits.

    Args:
        reader: The class of the reader.
        settings: Its settings.
        images: Whether to decode the images, if they exist.

    Raises:
        ValueError: A file is not in the published format.
    """
    splits = {split: reader(split, False, **settings) for split in SPLITS}
    found = Diagnosis(reader.name)
    for split, read in splits.items():
        _count(found, split, read)
        _files(found, split, read)
        _records(found, split, read)
        _sentences(found, split, read)
        _contradictions(found, split, read)
    _shared(found, splits)
    missing, there = _missing(found, splits)
    if images and there:
        look_at_images(found, splits, missing)
        _unreferenced(found, splits)
    return found


def _count(found: Diagnosis, split: str, read: Published) -> None:
    pairs = len(merged(read.records))
    published = read.published.get(split)
    found.counts[split] = {
        "records": len(read.records),
        "pairs": pairs,
        "published": published,
        "sentences": sum(len(pair.references) for pair in read.pairs),
        "changed": sum(map(read.changed, read.pairs)),
    }
    if published is not None and read.records and pairs != published:
        found.tell("warning", f"{split} has {pairs:,} pairs, but {published:,} were published")


def _files(found: Diagnosis, split: str, read: Published) -> None:
    for name in read.missing:
        other = next(
            (each for alias in ALIKE[split] if (each := _alias(read.root / name, split, alias)).exists()), None
        )
        mend = f"; {other.name!r} exists, rename it: {renamed(other, Path(name).name)}" if other else ""
        found.tell("error", f"{split} needs the annotation file {name}, which is missing{mend}")


def _alias(path: Path, split: str, alias: str) -> Path:
    return path.with_name(path.name.replace(split, alias, 1))


def _records(found: Diagnosis, split: str, read: Published) -> None:
    seen = dict[tuple[str, str], Record]()
    again = list[str]()
    for record in read.records:
        first = seen.setdefault((record.before, record.after), record)
        if first is not record:
            again.append(f"{record.id} ({record.where}) is the same pair as {first.id} ({first.where})")
    found.add("warning", f"records in {split} repeat a pair of an earlier record", again, "merge")
    blank = [f"{each.id} ({each.where})" for each in read.records for text in each.sentences if not text.strip()]
    found.add("warning", f"sentences in {split} are blank", blank, "drop-blank")
    kept = {(pair.before, pair.after) for pair in read.pairs}
    silent = [f"{pair.id} ({pair.where})" for pair in merged(read.records) if (pair.before, pair.after) not in kept]
    if not any("captions" in name for name in read.missing):
        found.add("warning", f"pairs in {split} have only blank sentences", silent, "drop-blank")
    ids = Counter(pair.id for pair in read.pairs)
    found.add("error", f"ids in {split} are used by several pairs", [name for name, count in ids.items() if count > 1])
    twice = [f"{pair.id}: {text!r}" for pair in read.pairs for text, n in Counter(pair.references).items() if n > 1]
    found.add("note", f"sentences in {split} are repeated within a pair, and count as often", twice)


def _sentences(found: Diagnosis, split: str, read: Published) -> None:
    other_script = [(pair, text) for pair in read.pairs for text in pair.references if foreign(text)]
    found.add(
        "warning",
        f"sentences in {split} are in a script that the protocols do not support",
        [f"{pair.id} ({pair.where}): {text!r}" for pair, text in other_script],
        "drop-foreign",
    )
    sentences = [text for pair in read.pairs for text in pair.references]
    english = sum(look_english([text]) for text in sentences)
    if sentences and english < _ENGLISH * len(sentences):
        found.tell(
            "warning",
            f"{split} does not look English, which the protocols expect: only {english:,} of {len(sentences):,} "
            "sentences do",
        )


def foreign(text: str) -> bool:
    """Return whether a sentence has letters that are not Latin."""
    return not text.isascii() and any(
        letter.isalpha() and not unicodedata.name(letter, "LATIN").startswith("LATIN") for letter in text
    )


def _contradictions(found: Diagnosis, split: str, read: Published) -> None:
    by_flag, by_mask, apart = dict[str, str](), dict[str, str](), list[str]()
    for pair in read.pairs:
        said = {claims_change([text], read.no_change) for text in pair.references}
        place = f"{pair.id} ({pair.where}): {pair.references[0]!r}"
        if read.observed and pair.changed is not None and pair.changed not in said:
            by_flag[pair.id] = place
        if pair.mask and (path := read.root / pair.mask).is_file():
            changed = bool(changed_pixels(path).any())
            if changed != claims_change(pair.references, read.no_change):
                by_mask[pair.id] = f"{place}; the mask {'shows a change' if changed else 'is empty'}"
        elif read.observed and len(said) > 1:
            apart.append(f"{pair.id} ({pair.where}): {', '.join(map(repr, pair.references))}")
    for what, pairs in (("flag", by_flag), ("mask", by_mask)):
        message = f"pairs in {split} have sentences that contradict their {what}"
        found.add("warning", message, list(pairs.values()), "drop-contradicting")
        found.drop("drop-contradicting", {(split, name) for name in pairs})
    found.add(
        "warning",
        f"pairs in {split} have sentences that contradict each other: some claim a change, some do not",
        apart,
    )


def _shared(found: Diagnosis, splits: Mapping[str, Published]) -> None:
    """Find pairs and images, by their names, that are in two splits."""
    for first, second in combinations(splits, 2):
        ours, theirs = ({(each.before, each.after): each for each in splits[name].pairs} for name in (first, second))
        both = [f"{ours[key].id} is {theirs[key].id} in {second}" for key in ours if key in theirs]
        found.add("error", f"pairs of {first} are also in {second}", both, "drop-shared")
        used = {name for pair in theirs for name in pair}
        leaking = [pair for key, pair in ours.items() if used & set(key)]
        for side, column in (("before", 0), ("after", 1)):
            names = {key[column] for key in theirs}
            images = sorted({key[column] for key in ours if key[column] in names})
            found.add("error", f"{side} images of {first} are also in {second}", images, "drop-shared")
        found.drop("drop-shared", {(first, pair.id) for pair in leaking})


def _missing(found: Diagnosis, splits: Mapping[str, Published]) -> tuple[set[Path], bool]:
    """Return the missing images, and whether any image exists."""
    absent = dict[str, dict[str, str]]()
    wanted, damaged = set[Path](), set[Pair]()
    for split, read in splits.items():
        for pair in read.pairs or merged(read.records):
            for name in (pair.before, pair.after):
                wanted.add(read.root / name)
                try:
                    read.image(pair, name)
                except (ValueError, OSError) as error:
                    absent.setdefault(split, {})[name] = name if isinstance(error, FileNotFoundError) else str(error)
                    damaged.add((split, pair.id))
    gone = {splits[split].root / name for split, names in absent.items() for name in names}
    mends = {split: _folder_alias(splits[split].root, names, split) for split, names in absent.items()}
    if gone == wanted and not any(mends.values()):
        found.tell("error", f"all {len(wanted):,} images are missing; only the annotations were checked")
        return gone, False
    for split, names in absent.items():
        fix = None if mends[split] else "drop-damaged"
        found.add("error", f"images of {split} are missing{mends[split]}", list(names.values()), fix)
    found.drop("drop-damaged", damaged)
    return gone, True


def _folder_alias(root: Path, names: Iterable[str], split: str) -> str:
    """Return the message with the command that renames the folder of a split's images as expected."""
    image = next((each for each in map(Path, names) if split in each.parts), None)
    if image is None:
        return ""
    folder = root.joinpath(*image.parts[: image.parts.index(split) + 1])
    other = next((each for alias in ALIKE[split] if (each := folder.with_name(alias)).is_dir()), None)
    return f"; {other.name!r} exists, rename it: {renamed(other, split)}" if other and not folder.exists() else ""


def _unreferenced(found: Diagnosis, splits: Mapping[str, Published]) -> None:
    read = next(iter(splits.values()))
    used = {name for each in splits.values() for pair in merged(each.records) for name in (pair.before, pair.after)}
    used |= {pair.mask for each in splits.values() for pair in each.records if pair.mask}
    lying = [
        f"{folder}/{path.as_posix()}"
        for folder in read.folders
        if (read.root / folder).is_dir()
        for path in image_files(read.root / folder).images
    ]
    found.add("warning", "images belong to no pair", [name for name in lying if name not in used])
