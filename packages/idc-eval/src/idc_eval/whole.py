"""Text files: read whatever program saved them, written whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def read_text(path: Path) -> str:
    """Read UTF-8, with or without a byte order mark.

    Raises:
        ValueError: It is no UTF-8; names the file.
        OSError: It cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def write_whole(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or several one after the other, as UTF-8; a crash leaves the file of before.

    Raises:
        OSError: It cannot be written.
    """
    with whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines([text] if isinstance(text, str) else text)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to, with the same ending, which takes the place of `path` if nothing fails.

    Several may write one file at a time: the last to end wins.
    """
    unfinished = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
