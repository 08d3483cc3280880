"""Examines a dataset's images: damage, sizes, and copies across splits."""

from collections.abc import Mapping
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from idc_data.doctor.diagnosis import Diagnosis
from idc_data.images import load_image
from idc_data.readers.published import Published

_BITS = 3
"""Maximum number of different bits in the 64-bit perceptual hashes of near copies."""
_LEVELS = 4.0
"""Maximum mean difference of near copies' thumbnails, in 256 levels: hashes of plain images may agree by chance."""


class _Seen(NamedTuple):
    size: tuple[int, int]
    contents: bytes
    hash: int
    thumbnail: np.ndarray


def look_at_images(found: Diagnosis, splits: Mapping[str, Published], missing: set[Path]) -> None:
    """Decode every image once, and add the problems found."""
    seen = {split: _look(found, split, read, missing) for split, read in splits.items()}
    for first, second in combinations(splits, 2):
        _copies(found, splits[first], seen[first], second, seen[second])


def _look(found: Diagnosis, split: str, read: Published, missing: set[Path]) -> dict[str, _Seen]:
    seen, damaged, unequal = dict[str, _Seen](), dict[str, str](), list[str]()
    for pair in read.pairs:
        for name in (pair.before, pair.after):
            if name in seen or name in damaged or read.root / name in missing:
                continue
            try:
                seen[name] = _seen(read.image(pair, name))
            except (ValueError, OSError) as error:
                damaged[name] = str(error)
        before, after = seen.get(pair.before), seen.get(pair.after)
        if before and after and before.size != after.size:
            sizes = " and ".join(f"{width} x {height}" for width, height in (before.size, after.size))
            unequal.append(f"{pair.id} ({pair.where}): {sizes}")
            found.drop("drop-unequal", {(split, pair.id)})
        if before is None or after is None:
            found.drop("drop-damaged", {(split, pair.id)})
    found.add("error", f"images of {split} are damaged", list(damaged.values()), "drop-damaged")
    found.add("warning", f"pairs in {split} have images of different sizes", unequal, "drop-unequal")
    return seen


def _seen(path: Path) -> _Seen:
    data = path.read_bytes()
    pixels = load_image(data)
    picture = Image.fromarray(pixels).convert("L")
    grid = np.asarray(picture.resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits(grid[:, 1:] > grid[:, :-1])
    thumbnail = np.asarray(picture.resize((16, 16), Image.Resampling.BOX))
    return _Seen((picture.width, picture.height), sha256(data).digest(), int.from_bytes(bits.tobytes()), thumbnail)


def _copies(
    found: Diagnosis, read: Published, ours: Mapping[str, _Seen], second: str, theirs: Mapping[str, _Seen]
) -> None:
    """Find files of equal content, and near copies, under different names; equal names are found without decoding."""
    contents = {each.contents: name for name, each in theirs.items()}
    names, hashes = list(theirs), np.array([each.hash for each in theirs.values()], np.uint64)
    thumbnails = np.array([each.thumbnail for each in theirs.values()], np.int16)
    same, near = dict[str, str](), dict[str, str]()
    for name, each in ours.items():
        if name in theirs:
            continue
        if other := contents.get(each.contents):
            same[name] = other
        elif names:
            alike = np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(each.hash)) <= _BITS)
            apart = np.abs(thumbnails[alike] - each.thumbnail).mean(axis=(1, 2))
            if len(alike) and apart.min() <= _LEVELS:
                near[name] = names[alike[apart.argmin()]]
    for how, copies, fix in (("copies", same, "drop-shared"), ("near copies", near, "drop-near")):
        where = [f"{name} and {other}" for name, other in copies.items()]
        severity = "error" if copies is same else "warning"
        found.add(severity, f"images of {read.split} are {how} of images of {second}", where, fix)
        found.drop(fix, {(read.split, pair.id) for pair in read.pairs if {pair.before, pair.after} & copies.keys()})
