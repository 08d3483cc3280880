"""Resolves file names in a dataset or list, which must lie below the user's folder, also through links."""

import os
import shlex
import stat
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize


def image_path(folder: Path, name: str, *, line: str, dataset: Path | None = None) -> Path:
    """Return the path of an image that a line of a metadata.jsonl names.

    Args:
        folder: The folder of the split.
        name: Relative to the split, or the absolute path of a file in it, in any Unicode normal form.
        line: The line, for error messages.
        dataset: Links may lead anywhere in this folder; by default the parent of the split's folder.

    Raises:
        ValueError: The name leads out of the folder (`..`, or an absolute path elsewhere), or is a link that leads out
            of the dataset.
        FileNotFoundError: There is no such file.
    """
    if path := _without_links(folder, name):
        return path
    name = below(folder, name)
    if problem := _outside(folder, Path(name)):
        raise ValueError(f"{line}: the image {name!r} {problem}")
    path = found(folder, name)
    if problem := _leads_away(path, dataset or folder.parent, (folder,)):
        raise ValueError(f"{line}: the image {name!r} {problem}")
    try:
        if path.is_file():
            return path
        why = " (a broken link)" if path.is_symlink() else ""
    except OSError as error:  # for example, the name is too long
        why = f" ({error.strerror})"
    raise FileNotFoundError(f"{line}: there is no image {name!r} in {str(folder)!r}{why}")


def below(folder: Path, name: str) -> str:
    """Return an absolute path of a file in a folder relative to it; other names unchanged except for slashes."""
    name = _slashed(folder, name)
    path = Path(name)
    if not path.is_absolute():
        return name
    try:
        whole = path.parent.resolve() / path.name  # a link in the folder counts as in the folder
        return str(whole.relative_to(folder.resolve()))
    except (ValueError, OSError, RuntimeError):
        return name


def plain_name(name: str | Path) -> str:
    """Normalise a file name, so that names of the same file are equal, even if one was written on Windows."""
    return normalize("NFC", Path(os.path.normpath(str(name).replace("\\", "/"))).as_posix())


def why_not_below(root: Path, path: Path) -> str:
    """Return why a file does not lie below a folder, as the predicate of a sentence; empty if it does.

    Args:
        root: The user's folder.
        path: The file, relative to it.
    """
    return _outside(root, path) or _leads_away(root / path, root)


def found(folder: Path, name: str) -> Path:
    """Return the path of a file, in whatever Unicode normal form its name is stored: macOS decomposes accents."""
    name = _slashed(folder, name)
    path = folder / name
    if name.isascii() or os.path.lexists(path):
        return path
    for part in Path(name).parts:
        folder = folder / _names(folder).get(normalize("NFC", part), part)
    return folder


def _without_links(folder: Path, name: str) -> Path | None:
    """The file of a plain name that no link leads to, as nearly all are; resolving links costs eight times as much."""
    parts, place = name.split("/"), str(folder)
    if os.sep != "/" or not {"", ".", ".."}.isdisjoint(parts):
        return None
    try:
        for part in parts[:-1]:
            place = f"{place}/{part}"
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                return None
        return folder / name if stat.S_ISREG(os.lstat(f"{place}/{parts[-1]}").st_mode) else None
    except (OSError, ValueError):
        return None


def _slashed(folder: Path, name: str) -> str:
    """Replace backslashes by slashes, unless there is a file of exactly this name."""
    return name.replace("\\", "/") if "\\" in name and not os.path.lexists(folder / name) else name


def _names(folder: Path) -> dict[str, str]:
    """Return the names in a folder by their composed form."""
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=8)
def _listed(folder: Path, changed: int) -> dict[str, str]:
    return {normalize("NFC", name): name for name in (each.name for each in folder.iterdir())}


def _outside(root: Path, path: Path) -> str:
    """Return what is wrong with a name, without accessing files."""
    if path.is_absolute():
        return f"lies outside of {str(root.resolve())!r}, expected a name relative to it"
    if not Path(os.path.normpath(root / path)).is_relative_to(os.path.normpath(root)):
        return f"lies outside of {str(root)!r}, expected a file below it"
    return ""


def _leads_away(path: Path, root: Path, homes: tuple[Path, ...] = ()) -> str:
    """Return what is wrong with the target of a link."""
    try:
        target = path.resolve()
        allowed = [home.resolve() for home in (root, *homes)]
    except RuntimeError:  # pathlib's error for ELOOP
        return "is a link that leads back to itself"
    except (OSError, ValueError) as error:  # too long, or with a null byte
        return f"is not a valid file name: {getattr(error, 'strerror', None) or error}"
    if any(target.is_relative_to(home) for home in (*allowed, *_blobs(allowed[0]))):
        return ""
    return (
        f"is a link to {str(target)!r}, which lies outside of {str(root)!r}; replace the links by copies: "
        f"cp -rL {shlex.quote(str(root))} COPY"
    )


def _blobs(root: Path) -> list[Path]:
    """Return the folder to which links in a snapshot of a hub's cache lead: `REPOSITORY/blobs`, next to `snapshots`.

    By giving a folder of the snapshot, the user has allowed this repository. `blobs` itself must not be a link, because
    it is compared with resolved paths.
    """
    return [each.parent / "blobs" for each in (root, *root.parents) if each.name == "snapshots"][:1]
