"""Files that are there whole or not at all."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from uuid import uuid4

_HOUR = 3600.0  # seconds


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to, with the same ending, which takes the place of `path` if nothing fails.

    Several may write one file at a time: the last to end wins. What a kill has left is removed after an hour.
    """
    for left in path.parent.glob(f".{escape(path.name)}.*.tmp{escape(path.suffix)}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _HOUR:
                left.unlink()
    unfinished = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole(path) as unfinished:
        unfinished.write_bytes(content)
