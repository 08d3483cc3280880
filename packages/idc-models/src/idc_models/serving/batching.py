"""Micro-batching: requests from many threads are computed together."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Settings = TypeVar("Settings", bound=Hashable)
Result = TypeVar("Result")


class Busy(Exception):
    """Too many requests are waiting to be answered in time."""


@dataclass(frozen=True)
class _Request(Generic[Item, Settings, Result]):
    items: Sequence[Item]
    settings: Settings
    results: Future[Sequence[Result]] = field(default_factory=Future)


class Batcher(Generic[Item, Settings, Result]):
    """Runs a function on batches of items from many threads, in a thread of its own.

    No request waits for a batch to fill up. Requests that arrive during a batch are queued; those with equal settings
    form the next batch, oldest first.

    Args:
        work: Returns one result per item; called from one thread only.
        max_items: Maximum number of items per batch. Requests are never split, so a larger one is a batch by itself.
        capacity: Maximum number of waiting items.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item], Settings], Sequence[Result]],
        *,
        max_items: int = 64,
        capacity: int = 1024,
    ) -> None:
        self._work, self._max_items, self._capacity = work, max_items, capacity
        self._waiting: deque[_Request[Item, Settings, Result]] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="batcher", daemon=True).start()

    def __call__(self, items: Sequence[Item], settings: Settings, patience: float | None = None) -> Sequence[Result]:
        """Return the results of a request once its batch is done.

        Args:
            items: The items of the request.
            settings: Requests with equal settings may share a batch.
            patience: Maximum seconds to wait for the batch to start; None waits indefinitely.

        Raises:
            Busy: Too many items are waiting, or the wait was too long.
            Exception: Any error that the function raised for the batch.
        """
        request: _Request[Item, Settings, Result] = _Request(items, settings)
        with self._changed:
            if self.waiting + len(items) > self._capacity:
                raise Busy(f"{self.waiting} pairs are already waiting; try again in a moment")
            self._waiting.append(request)
            self._changed.notify()
        try:
            return request.results.result(patience)
        except TimeoutError:
            if not request.results.cancel():  # it has started, or failed with a timeout of its own
                return request.results.result()
            raise Busy(
                f"the request waited {patience:.0f} seconds without being started; try again in a moment"
            ) from None

    @property
    def waiting(self) -> int:
        """Number of items waiting for their batch to start."""
        return sum(len(request.items) for request in tuple(self._waiting))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                batch = self._next()
            batch = [request for request in batch if request.results.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                results = self._work([item for request in batch for item in request.items], batch[0].settings)
            except Exception as error:  # pass any error on to the waiting threads
                for request in batch:
                    request.results.set_exception(error)
                continue
            start = 0
            for request in batch:
                request.results.set_result(results[start : start + len(request.items)])
                start += len(request.items)

    def _next(self) -> list[_Request[Item, Settings, Result]]:
        """Remove the oldest request, and those that can share its batch, from the queue."""
        settings, room = self._waiting[0].settings, self._max_items
        batch, left = [], deque()
        for request in self._waiting:
            if not batch or (request.settings == settings and len(request.items) <= room):
                batch.append(request)
                room -= len(request.items)
            else:
                left.append(request)
        self._waiting = left
        return batch
