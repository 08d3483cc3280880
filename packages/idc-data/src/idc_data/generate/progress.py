"""How long work shows how far it is."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps an iterable: (iterable, description, length)."""


class Lines:
    """Progress for logs and other places that are no terminal: now and then a line with number, share and time left.

    Args:
        say: Takes a line.
        seconds: Least time between two lines.
    """

    def __init__(self, say: Callable[[str], None], seconds: float = 30.0) -> None:
        self._say, self._seconds = say, seconds

    def __call__(self, what: Iterable[Any], description: str, length: int) -> Iterator[Any]:
        """Yield the items, and say now and then how far it is."""
        began = last = time.monotonic()
        for number, item in enumerate(what, 1):
            yield item
            now = time.monotonic()
            if now - last >= self._seconds:
                last, left = now, (now - began) / number * (length - number)
                self._say(f"{description}: {number:,} of {length:,}, about {left / 60:,.1f} minutes left")
