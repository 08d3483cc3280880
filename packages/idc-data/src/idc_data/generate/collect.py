"""Stage 1, collect: the images, each once, and the files that cannot be read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
from PIL import Image

from idc_data.example import SPLITS
from idc_data.generate.progress import Progress
from idc_data.generate.stage import Rows
from idc_data.image_colour import eight_bits
from idc_data.images import image_files, read_pixels
from idc_data.places import found, why_not_below
from idc_data.rows import METADATA, json_object, numbered
from idc_data.text import read_text

COLLECTORS = {
    "folder": "idc_data.generate.collect:ImageFolder",
    "list": "idc_data.generate.collect:ImageList",
    "dataset": "idc_data.generate.collect:Dataset",
}
"""Name -> class with the attribute `root` and the method `paths() -> list[Path]`, relative to it."""

IMAGES = pa.schema(
    [
        ("image", pa.string()),
        ("path", pa.string()),
        ("copies", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("hash", pa.string()),
    ]
)
"""One row per distinct image: its identity (of the bytes), where it lies, where copies lie, its size in pixels, its
perceptual hash (pHash, 64 bits in hexadecimal digits)."""


class ImageFolder:
    """All image files below a folder, by their names' endings.

    Args:
        root: The folder.

    Raises:
        FileNotFoundError: There is no such folder.
    """

    def __init__(self, *, root: Path) -> None:
        self.root = root
        self.others: list[Path] = []
        if not root.is_dir():
            raise FileNotFoundError(f"collect: there is no folder {str(root)!r}")

    def paths(self) -> list[Path]:
        """Return the files, in the order of their names; `others` then holds those left out, but for hidden ones."""
        found, self.others = image_files(self.root)
        return found


class ImageList:
    """The image files that a text file lists, one per line, relative to the folder of that file.

    Args:
        file: The text file, in UTF-8 or UTF-16.

    Raises:
        FileNotFoundError: There is no such file.
    """

    def __init__(self, *, file: Path) -> None:
        self.root = file.parent
        if not file.is_file():
            raise FileNotFoundError(f"collect: there is no file {str(file)!r}")
        self._lines = read_text(file).splitlines()

    def paths(self) -> list[Path]:
        """Return the files, in the order of the list."""
        names = [line.strip() for line in self._lines if line.strip()]
        return [found(self.root, name).relative_to(self.root) for name in names]


class Dataset:
    """The images of a dataset in the project's own layout; its captions are left aside.

    Args:
        root: The folder of the dataset.
        splits: Which of its splits.

    Raises:
        FileNotFoundError: There is no such folder, or a split is missing.
    """

    def __init__(self, *, root: Path, splits: tuple[str, ...] = SPLITS) -> None:
        self.root, self._files = root, [Path(split) / METADATA for split in splits]
        for file in self._files:
            if not (root / file).is_file():
                raise FileNotFoundError(f"collect: there is no file {str(root / file)!r}")

    def paths(self) -> list[Path]:
        """Return the files of all pairs, before and after of one pair after the other."""
        return list(dict.fromkeys(path for pair in dataset_pairs(self.root, self._files) for path in pair))


def dataset_pairs(root: Path, files: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the paths of before and after, relative to `root`, of every pair in metadata files."""
    for file in files:
        for number, text in numbered(root / file):
            where = f"{root / file}:{number}"
            row = json_object(text, where)
            before, after = (row.get(f"{side}_file_name") for side in ("before", "after"))
            if not isinstance(before, str) or not isinstance(after, str):
                raise ValueError(f"{where}: expected before_file_name and after_file_name, got {before!r}, {after!r}")
            folder = root / file.parent
            yield found(folder, before).relative_to(root), found(folder, after).relative_to(root)


def collect(root: Path, paths: Sequence[Path], progress: Progress) -> tuple[Rows, dict[str, Any]]:
    """Read every file: merge copies, which have the same bytes, and set broken files aside.

    Args:
        root: The folder that `paths` are relative to.
        paths: The files.
        progress: Shows how far it is.

    Returns:
        Rows of `IMAGES`, and the notes `broken` (file and reason) and `copies` (how many).

    Raises:
        ValueError: None of them is an image that can be read, or one lies outside of `root`.
    """
    rows: dict[str, dict[str, Any]] = {}
    broken: list[dict[str, str]] = []
    with ThreadPoolExecutor() as pool:
        looked = pool.map(lambda path: _look(root, path), paths)
        for row in progress(looked, "collect", len(paths)):
            if "reason" in row:
                broken.append(row)
            elif row["image"] in rows:
                rows[row["image"]]["copies"].append(row["path"])
            else:
                rows[row["image"]] = row
    if not rows:
        raise ValueError(f"collect: there is no whole image in {str(root)!r}; {len(broken)} files are broken")
    return list(rows.values()), {"broken": broken, "copies": sum(len(row["copies"]) for row in rows.values())}


def _look(root: Path, path: Path) -> dict[str, Any]:
    """A row of `IMAGES`, or what is wrong with the file."""
    if problem := why_not_below(root, path):
        raise ValueError(f"collect: {str(path)!r} {problem}")
    try:
        data = (root / path).read_bytes()
        pixels = read_pixels(data)
    except (ValueError, OSError) as error:
        return {"path": str(path), "reason": str(error)}
    if pixels.dtype == np.uint16 and pixels.max() < 2**14:  # each by itself would come out at a brightness of its own
        reason = f"its 16-bit pixels end at {pixels.max():,}; write all images as 8 bits by one factor"
        return {"path": str(path), "reason": reason}
    (pixels,) = eight_bits(pixels)
    size = {"width": pixels.shape[1], "height": pixels.shape[0]}
    seen = str(imagehash.phash(Image.fromarray(pixels)))
    return {"image": sha256(data).hexdigest()[:16], "path": str(path), "copies": [], **size, "hash": seen}


def listing(root: Path, paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of every file, which show a change without reading it."""
    states = [(path, (root / path).stat()) for path in paths if (root / path).exists()]
    return [(str(path), state.st_size, state.st_mtime_ns) for path, state in states]
