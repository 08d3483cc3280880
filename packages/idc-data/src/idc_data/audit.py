"""An audit: people accept, correct or reject captions on a web page, and their verdicts are applied to the dataset."""

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
"""File in the folder of a dataset with all verdicts, by the id of the pair."""

_PAGE = Path(__file__).parent / "audit.html"
_SECTION = "\n## Audit\n"
_PIXELS = 384  # longer side of an image on the page


class Verdict(BaseModel):
    """A person's judgement of the captions of a pair.

    Attributes:
        verdict: `accept`, `correct` or `reject`.
        written: The captions that were judged.
        references: The correct captions; ignored for a rejected pair.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["accept", "correct", "reject"]
    written: tuple[str, ...]
    references: tuple[str, ...] = ()


_Verdicts = TypeAdapter(dict[str, Verdict])


@dataclass(frozen=True)
class Summary:
    """The result of an audit.

    Attributes:
        counts: Number of verdicts of each kind.
        low: Lower end of the 95 % Wilson interval of the share of accepted pairs, 0..1.
        high: Its upper end.
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
    """Make a self-contained web page for people to judge pairs that have no verdict yet.

    Args:
        dataset: The folder of the dataset, in the project's own layout.
        num: Maximum number of pairs on the page, sampled from all splits.
        seed: Seed of the sample.

    Returns:
        The page as HTML with embedded images, and the number of pairs on it.

    Raises:
        ValueError: All pairs have been judged.
        OSError: The folder has no dataset.
    """
    judged = read_verdicts(dataset / AUDIT)
    splits = [split for split in SPLITS if (dataset / split / METADATA).is_file()]
    if not splits:
        raise FileNotFoundError(f"{str(dataset)!r} has no dataset: expected <dataset>/<split>/{METADATA}")
    folders = [Folder(split, root=dataset) for split in splits]
    left = [(pairs, at) for pairs in folders for at in range(len(pairs)) if pairs[at].id not in judged]
    if not left:
        raise ValueError(f"all pairs of {str(dataset)!r} have been judged: {summary(judged)}")
    chosen = Random(seed).sample(left, min(num, len(left)))
    data = {"dataset": dataset.resolve().name, "pairs": [_shown(pairs[at]) for pairs, at in chosen]}
    # Escape "<", so that no caption can close the script element.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return _PAGE.read_text(encoding="utf-8").replace("/* DATA */ null", text), len(chosen)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Read verdicts; none if there is no such file.

    Raises:
        ValueError: The file was not saved by the audit page.
    """
    if not path.is_file():
        return {}
    try:
        return _Verdicts.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} is not a file saved by the audit page: {faults(error)}") from error


def add_verdicts(dataset: Path, given: Mapping[str, Verdict]) -> Summary:
    """Add verdicts to `audit.json`, and apply them to the dataset.

    Raises:
        ValueError: There are no verdicts, or one is about a pair that the dataset does not have.
    """
    if not given:
        raise ValueError("the file has no verdicts; judge pairs on the page, then save")
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
    """Apply the verdicts in `audit.json` to the dataset; applying them again changes nothing.

    Rejected pairs and their images are removed, and corrected captions are inserted. Verdicts on captions that no
    longer exist, because the dataset was generated again, are ignored. The data card gets a section on the audit.

    Returns:
        The number of verdicts.

    Raises:
        ValueError: A split would become empty.
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
    """Count verdicts, and compute the confidence interval of the share of accepted pairs."""
    counts = Counter(verdict.verdict for verdict in verdicts.values())
    total, z = len(verdicts), NormalDist().inv_cdf(0.975)
    part = counts["accept"] / total
    middle = (part + z * z / (2 * total)) / (1 + z * z / total)
    half = z * ((part * (1 - part) + z * z / (4 * total)) / total) ** 0.5 / (1 + z * z / total)
    return Summary({kind: counts[kind] for kind in _WORDS}, max(middle - half, 0.0), min(middle + half, 1.0))


def _planned(dataset: Path, verdicts: Mapping[str, Verdict]) -> dict[str, tuple[list[Row], list[Row]]]:
    """Return the rows of every split before and after applying verdicts."""
    plan = {}
    for split in SPLITS:
        rows = _rows(dataset, split)
        kept = [after for row in rows if (after := _judged(row, verdicts.get(row.id)))]
        if rows and not kept:
            raise ValueError(f"every pair of {split} is rejected, so it would become empty; make the split larger")
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
