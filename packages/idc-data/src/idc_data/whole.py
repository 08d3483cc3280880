"""Writes files completely or not at all."""

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
    """Yield a temporary path with the same extension, which replaces `path` if no exception is raised.

    Several processes may write a file at the same time: the last to finish wins. Files left by killed processes are
    removed after an hour.
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
    """Write a file completely or not at all."""
    with whole(path) as unfinished:
        unfinished.write_bytes(content)
