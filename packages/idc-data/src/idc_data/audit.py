"""An audit: people accept, correct or reject captions in a web page, and the dataset takes their word for it."""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from idc_data.example import SPLITS, ChangeExample
from idc_data.images import load_pair
from idc_data.layout import Folder
from idc_data.places import below, image_path, plain_name
from idc_data.rows import METADATA, Row, read_rows
from idc_data.whole import write_whole
from idc_data.wording import faults

AUDIT = "audit.json"
"""In the folder of a dataset: the verdicts that were given, by the id of the pair."""

_PAGE = Path(__file__).parent / "audit.html"
_SECTION = "\n## Audit\n"
_PIXELS = 384  # longer side of an image on the page


class Verdict(BaseModel):
    """What a person says of the captions of a pair.

    Attributes:
        verdict: `accept`, `correct` or `reject`.
        written: The captions that were judged.
        references: The captions as they should be; of a rejected pair they do not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["accept", "correct", "reject"]
    written: tuple[str, ...]
    references: tuple[str, ...] = ()


_Verdicts = TypeAdapter(dict[str, Verdict])


@dataclass(frozen=True)
class Summary:
    """How an audit went.

    Attributes:
        counts: Verdicts of each kind.
        low: Of the 95 % interval of the part of captions that are right as they were written (Wilson).
        high: Its other end.
    """

    counts: dict[str, int]
    low: float
    high: float

    def __str__(self) -> str:
        total, right = sum(self.counts.values()), self.counts["accept"]
        parts = ", ".join(f"{self.counts[kind]:,} {word}" for kind, word in _WORDS.items())
        return (
            f"{total:,} pairs judged by people: {parts}; right as written: {right / total:.0%} "
            f"(95 % interval {self.low:.0%} to {self.high:.0%})"
        )


_WORDS = {"accept": "accepted", "correct": "corrected", "reject": "rejected"}


def audit_page(dataset: Path, num: int, *, seed: int = 0) -> tuple[str, int]:
    """Make a self-contained web page on which people judge pairs that nobody has judged yet.

    Args:
        dataset: Its folder, in the project's own layout.
        num: Most pairs on the page, drawn at random from all splits.
        seed: Of the draw.

    Returns:
        The page as HTML, with images in it, and the number of pairs on it.

    Raises:
        ValueError: All pairs are judged.
        OSError: There is no dataset in the folder.
    """
    judged = read_verdicts(dataset / AUDIT)
    splits = [split for split in SPLITS if (dataset / split / METADATA).is_file()]
    if not splits:
        raise FileNotFoundError(f"{str(dataset)!r} holds no dataset: expected <dataset>/<split>/{METADATA}")
    folders = [Folder(split, root=dataset) for split in splits]
    left = [(pairs, at) for pairs in folders for at in range(len(pairs)) if pairs[at].id not in judged]
    if not left:
        raise ValueError(f"all pairs of {str(dataset)!r} are judged: {summary(judged)}")
    chosen = Random(seed).sample(left, min(num, len(left)))
    data = {"dataset": dataset.resolve().name, "pairs": [_shown(pairs[at]) for pairs, at in chosen]}
    # A caption must not end the script that it stands in.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return _PAGE.read_text(encoding="utf-8").replace("/* DATA */ null", text), len(chosen)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Read verdicts; none if there is no such file.

    Raises:
        ValueError: It is not of the form that the page saves.
    """
    if not path.is_file():
        return {}
    try:
        return _Verdicts.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} is no file that the audit page saved: {faults(error)}") from error


def add_verdicts(dataset: Path, given: Mapping[str, Verdict]) -> Summary:
    """Write verdicts back: keep them in `audit.json`, and make the dataset as they say.

    Raises:
        ValueError: A verdict is about a pair that the dataset does not have, or none is given.
    """
    if not given:
        raise ValueError("there are no verdicts in the file; judge pairs on the page, then save")
    known = {row.id for split in SPLITS for row in _rows(dataset, split)} | read_verdicts(dataset / AUDIT).keys()
    if strangers := sorted(given.keys() - known):
        raise ValueError(
            f"{str(dataset)!r} has no pair {strangers[0]!r} ({len(strangers)} such): another dataset's audit?"
        )
    verdicts = read_verdicts(dataset / AUDIT) | dict(given)
    _planned(dataset, verdicts)
    write_whole(dataset / AUDIT, _Verdicts.dump_json(verdicts, indent=2))
    apply_verdicts(dataset)
    return summary(verdicts)


def apply_verdicts(dataset: Path) -> int:
    """Make the dataset as the verdicts in its `audit.json` say; a second time changes nothing.

    Rejected pairs and their images are taken out, corrected captions are put in. A verdict on captions that are not
    there any more, since the dataset was made anew, is passed over. A data card gets a section on the audit.

    Returns:
        How many verdicts there are.

    Raises:
        ValueError: Nothing would be left of a split.
    """
    verdicts = read_verdicts(dataset / AUDIT)
    for split, (rows, kept) in _planned(dataset, verdicts).items():
        if kept != rows:
            lines = "".join(row.model_dump_json() + "\n" for row in kept)
            write_whole(dataset / split / METADATA, lines.encode())
        had, has = (
            {plain_name(below(dataset / split, name)) for row in each for name in _images(row)} for each in (rows, kept)
        )
        for name in had - has:
            image_path(dataset / split, name, line=f"{dataset / split / METADATA}").unlink()
    card = dataset / "README.md"
    if verdicts and card.is_file():
        text = card.read_text(encoding="utf-8").partition(_SECTION)[0]
        write_whole(card, f"{text}{_SECTION}\n{summary(verdicts)}.\n".encode())
    return len(verdicts)


def summary(verdicts: Mapping[str, Verdict]) -> Summary:
    """Count verdicts, and say how sure the part of right captions is."""
    counts = Counter(verdict.verdict for verdict in verdicts.values())
    total, z = len(verdicts), NormalDist().inv_cdf(0.975)
    part = counts["accept"] / total
    middle = (part + z * z / (2 * total)) / (1 + z * z / total)
    half = z * ((part * (1 - part) + z * z / (4 * total)) / total) ** 0.5 / (1 + z * z / total)
    return Summary({kind: counts[kind] for kind in _WORDS}, max(middle - half, 0.0), min(middle + half, 1.0))


def _planned(dataset: Path, verdicts: Mapping[str, Verdict]) -> dict[str, tuple[list[Row], list[Row]]]:
    """The rows of every split, and those that verdicts leave."""
    plan = {}
    for split in SPLITS:
        rows = _rows(dataset, split)
        kept = [after for row in rows if (after := _judged(row, verdicts.get(row.id)))]
        if rows and not kept:
            raise ValueError(f"every pair of {split} is rejected: nothing would be left; make the split larger")
        plan[split] = (rows, kept)
    return plan


def _judged(row: Row, verdict: Verdict | None) -> Row | None:
    if verdict is None or verdict.written != row.references:
        return row
    if verdict.verdict == "reject":
        return None
    references = verdict.references if verdict.verdict == "correct" else row.references
    provenance = {**(row.provenance or {}), "audit": _WORDS[verdict.verdict]}
    return row.model_copy(update={"references": references, "provenance": provenance})


def _rows(dataset: Path, split: str) -> list[Row]:
    metadata = dataset / split / METADATA
    return [row for _, row in read_rows(metadata)] if metadata.is_file() else []


def _images(row: Row) -> Sequence[str]:
    return (row.before_file_name, row.after_file_name)


def _shown(example: ChangeExample) -> dict[str, Any]:
    provenance = example.provenance or {}
    before, after = load_pair(example.before, example.after)
    return {
        "id": example.id,
        "split": example.split,
        "change_type": example.change_type,
        "references": example.references,
        "before": _data_url(before),
        "after": _data_url(after),
        "before_caption": provenance.get("before_caption", ""),
        "after_caption": provenance.get("after_caption", ""),
    }


def _data_url(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_PIXELS, _PIXELS))
    data = BytesIO()
    image.save(data, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
