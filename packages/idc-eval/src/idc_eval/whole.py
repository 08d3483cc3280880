"""Text files: read with or without byte order mark, written whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def read_text(path: Path) -> str:
    """Read UTF-8, with or without a byte order mark.

    Raises:
        ValueError: The file is not UTF-8; names the file.
        OSError: The file cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def write_whole(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or several concatenated, as UTF-8; a crash leaves an existing file unchanged.

    Raises:
        OSError: The file cannot be written.
    """
    with whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines([text] if isinstance(text, str) else text)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; it replaces `path` if the block succeeds.

    Concurrent writers are safe: the last one to finish wins.
    """
    unfinished = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
