"""Finds identical images of a split by the contents of their files."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from idc_data.example import ChangeExample, Reader, read_examples
from idc_data.whole import write_whole

Image = Path | np.ndarray

_SECOND = 10**9  # nanoseconds
_AT_ONCE = 64
"""Number of pairs to request from a reader at once, which helps readers that render."""


@dataclass(frozen=True)
class Contents:
    """The distinct images of a split.

    Attributes:
        images: Each distinct image, in order of first occurrence.
        digests: The SHA-256 of each, in hexadecimal digits.
        rows: For each pair, the indices of before and after in `images`: int64 `pairs 2`.
    """

    images: list[Image]
    digests: list[str]
    rows: np.ndarray


def contents(reader: Reader, known: Path) -> Contents:
    """Find the distinct images of a split; unchanged files are not read again.

    Args:
        reader: A finite split.
        known: A cache file with the size, modification time and digest of each image file. It need not exist.

    Raises:
        OSError: An image is missing.
    """
    kept = _read(known)
    seen: dict[str, list[int | str]] = {}

    def digest(image: Image) -> str:
        if isinstance(image, np.ndarray):
            return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        name, stat = str(image), image.stat()
        entry = seen.get(name) or kept.get(name)
        if entry is None or entry[:2] != [stat.st_size, stat.st_mtime_ns]:
            with image.open("rb") as file:
                entry = [stat.st_size, stat.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()]
        seen[name] = entry
        return str(entry[2])

    images: dict[str, tuple[int, Image]] = {}
    rows: list[list[int]] = []
    for example in _examples(reader):
        sides = [(digest(side), side) for side in (example.before, example.after)]
        rows.append([images.setdefault(key, (len(images), side))[0] for key, side in sides])
    # A file modified just now could change again within the resolution of its timestamp, so do not cache it yet.
    settled = {name: entry for name, entry in seen.items() if int(entry[1]) < time.time_ns() - 2 * _SECOND}
    if settled != kept:
        known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known, json.dumps(settled).encode())
    return Contents([image for _, image in images.values()], list(images), np.array(rows, dtype=np.int64))


def _read(known: Path) -> dict[str, list[int | str]]:
    try:
        kept = json.loads(known.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # only a cache
        return {}
    return kept if isinstance(kept, dict) else {}


def _examples(reader: Reader) -> Iterator[ChangeExample]:
    for start in range(0, len(reader), _AT_ONCE):
        yield from read_examples(reader, range(start, min(start + _AT_ONCE, len(reader))))
