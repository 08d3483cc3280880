"""Stage 1, collect: which images there are, each once, and which files are none."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from idc_data.example import load_image
from idc_data.generate.stage import Rows

COLLECTORS = {"folder": "idc_data.generate.collect:ImageFolder", "list": "idc_data.generate.collect:ImageList"}
"""Name -> class with the attribute `root` and the method `paths() -> list[Path]`, relative to it."""

IMAGES = pa.schema(
    [
        ("image", pa.string()),
        ("path", pa.string()),
        ("copies", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
"""One row per distinct image: its identity (of the bytes), where it lies, where copies lie, its size in pixels."""


class ImageFolder:
    """All image files below a folder, by their names' endings; a dataset in the project's own layout is one.

    Args:
        root: The folder.

    Raises:
        FileNotFoundError: There is no such folder.
    """

    def __init__(self, *, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise FileNotFoundError(f"collect: there is no folder {str(root)!r}")

    def paths(self) -> list[Path]:
        """The files, in the order of their names; hidden ones are left out."""
        Image.init()
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if path.suffix.lower() in Image.EXTENSION)
        return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


class ImageList:
    """The image files that a text file lists, one per line, relative to the folder of that file.

    Args:
        file: The text file, in UTF-8.

    Raises:
        FileNotFoundError: There is no such file.
    """

    def __init__(self, *, file: Path) -> None:
        self.root = file.parent
        if not file.is_file():
            raise FileNotFoundError(f"collect: there is no file {str(file)!r}")
        self._lines = file.read_text(encoding="utf-8").splitlines()

    def paths(self) -> list[Path]:
        """The files, in the order of the list."""
        return [Path(line.strip()) for line in self._lines if line.strip()]


def collect(root: Path, paths: Iterable[Path]) -> tuple[Rows, dict[str, Any]]:
    """Look at every file: tell images by their bytes, merge copies, and set broken files aside.

    Args:
        root: The folder that `paths` are relative to.
        paths: The files.

    Returns:
        Rows of `IMAGES`, and the notes `broken` (file and reason) and `copies` (how many).

    Raises:
        ValueError: There is no whole image among them, or one lies outside of `root`.
    """
    rows: dict[str, dict[str, Any]] = {}
    broken: list[dict[str, str]] = []
    for path in paths:
        if not (root / path).resolve().is_relative_to(root.resolve()):
            raise ValueError(f"collect: {str(path)!r} lies outside of {str(root)!r}, expected a file below it")
        try:
            data = (root / path).read_bytes()
            height, width, _ = load_image(data).shape
        except (ValueError, OSError) as error:
            broken.append({"path": str(path), "reason": str(error)})
            continue
        name = sha256(data).hexdigest()[:16]
        if name in rows:
            rows[name]["copies"].append(str(path))
        else:
            rows[name] = {"image": name, "path": str(path), "copies": [], "width": width, "height": height}
    if not rows:
        raise ValueError(f"collect: there is no whole image in {str(root)!r}; {len(broken)} files are broken")
    return list(rows.values()), {"broken": broken, "copies": sum(len(row["copies"]) for row in rows.values())}


def listing(root: Path, paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file: whether one has changed, without reading it."""
    states = [(path, (root / path).stat()) for path in paths if (root / path).exists()]
    return [(str(path), state.st_size, state.st_mtime_ns) for path, state in states]
