"""Where the files that a dataset or a list names lie: below the folder that the user gave, also through links."""

import os
import shlex
import stat
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize


def image_path(folder: Path, name: str, *, line: str, dataset: Path | None = None) -> Path:
    """The image that a line of a metadata.jsonl names.

    Args:
        folder: Of the split.
        name: Relative to the split, or the whole path of a file in it; another Unicode form of its letters will do.
        line: Names the line in errors.
        dataset: A link may lead to anywhere in it; by default the folder above that of the split.

    Raises:
        ValueError: The name leaves the folder (`..`, or a whole path of elsewhere), or is a link that leaves the
            dataset.
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
        why = " (it is a link to what is not there)" if path.is_symlink() else ""
    except OSError as error:  # such as a name that is too long
        why = f" ({error.strerror})"
    raise FileNotFoundError(f"{line}: there is no image {name!r} in {str(folder)!r}{why}")


def below(folder: Path, name: str) -> str:
    """The name relative to a folder, where it is the whole path of what lies in it; else as it is, with slashes."""
    name = _slashed(folder, name)
    path = Path(name)
    if not path.is_absolute():
        return name
    try:
        whole = path.parent.resolve() / path.name  # a link in the folder lies in the folder
        return str(whole.relative_to(folder.resolve()))
    except (ValueError, OSError, RuntimeError):
        return name


def plain_name(name: str | Path) -> str:
    """A file name in the form in which two that mean one file are equal, also where Windows wrote one of them."""
    return normalize("NFC", Path(os.path.normpath(str(name).replace("\\", "/"))).as_posix())


def why_not_below(root: Path, path: Path) -> str:
    """Why a file does not lie below a folder, as the end of a sentence about it; nothing where it does.

    Args:
        root: The folder that the user gave.
        path: Relative to it.
    """
    return _outside(root, path) or _leads_away(root / path, root)


def found(folder: Path, name: str) -> Path:
    """The path of a file, whatever Unicode form its name has: macOS takes letters and accents apart."""
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
    """The name with the slashes that Windows writes the other way, unless there is a file of that very name."""
    return name.replace("\\", "/") if "\\" in name and not os.path.lexists(folder / name) else name


def _names(folder: Path) -> dict[str, str]:
    """The names in a folder, by their composed form."""
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=8)
def _listed(folder: Path, changed: int) -> dict[str, str]:
    return {normalize("NFC", name): name for name in (each.name for each in folder.iterdir())}


def _outside(root: Path, path: Path) -> str:
    """What is wrong with a name, before any file is looked at."""
    if path.is_absolute():
        return f"lies outside of {str(root.resolve())!r}, expected a name relative to it"
    if not Path(os.path.normpath(root / path)).is_relative_to(os.path.normpath(root)):
        return f"lies outside of {str(root)!r}, expected a file below it"
    return ""


def _leads_away(path: Path, root: Path, homes: tuple[Path, ...] = ()) -> str:
    """What is wrong with where links lead."""
    try:
        target = path.resolve()
        allowed = [home.resolve() for home in (root, *homes)]
    except RuntimeError:  # ELOOP, to pathlib
        return "is a link that leads back to itself"
    except (OSError, ValueError) as error:  # too long, or with a null byte
        return f"is no name of a file: {getattr(error, 'strerror', None) or error}"
    if any(target.is_relative_to(home) for home in (*allowed, *_blobs(allowed[0]))):
        return ""
    return (
        f"is a link to {str(target)!r}, which lies outside of {str(root)!r}; copy the files in place of the links: "
        f"cp -rL {shlex.quote(str(root))} COPY"
    )


def _blobs(root: Path) -> list[Path]:
    """Where a hub's cache keeps the files that links in a snapshot lead to: `REPOSITORY/blobs`, beside `snapshots`.

    The user gave a folder of that snapshot, and so this repository; `blobs` itself may not be a link to elsewhere,
    since what is compared with it has no links any more.
    """
    return [each.parent / "blobs" for each in (root, *root.parents) if each.name == "snapshots"][:1]
