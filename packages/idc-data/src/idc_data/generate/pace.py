"""The pace of requests to a server: a limited rate, and the delay that the server asks for."""

import threading
import time
from email.utils import parsedate_to_datetime


class Pace:
    """Lets callers through one by one.

    Args:
        seconds: Least time between two of them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next, self._lock = seconds, 0.0, threading.Lock()

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._seconds
        time.sleep(turn - now)


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Return the seconds that a header Retry-After asks for, as a number or a date; None if it says nothing."""
    if not retry_after:
        return None
    try:
        return max(float(retry_after), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
