"""Micro-batching: what many threads ask for one by one is computed together."""

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
    """There is more to do than can be done in time."""


@dataclass(frozen=True)
class _Request(Generic[Item, Settings, Result]):
    items: Sequence[Item]
    settings: Settings
    results: Future[Sequence[Result]] = field(default_factory=Future)


class Batcher(Generic[Item, Settings, Result]):
    """Runs a function over items from many threads in batches, on a thread of its own.

    Nothing waits for a batch to fill up: while one is computed the next requests gather, and those with equal settings
    make the next batch, the oldest first.

    Args:
        work: gives one result for each item; called from one thread only.
        max_items: most items of a batch. A request is never divided, so one with more is a batch by itself.
        capacity: most items that may wait.
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
        """Gives the results of items, when their batch is done.

        Args:
            items: what is asked for.
            settings: those with equal ones may share a batch.
            patience: seconds that they may wait for their batch to begin; None is for ever.

        Raises:
            Busy: too many items wait, or it took too long.
            Exception: what the function raised for the batch.
        """
        request: _Request[Item, Settings, Result] = _Request(items, settings)
        with self._changed:
            if self.waiting + len(items) > self._capacity:
                raise Busy(f"{self.waiting} pairs wait already; try again in a moment")
            self._waiting.append(request)
            self._changed.notify()
        try:
            return request.results.result(patience)
        except TimeoutError:
            if not request.results.cancel():  # it is being computed, or failed with a timeout of its own
                return request.results.result()
            raise Busy(f"the request waited for {patience:.0f} seconds; try again in a moment") from None

    @property
    def waiting(self) -> int:
        """How many items wait for their batch to begin."""
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
            except Exception as error:  # whatever it is, those who wait have to know
                for request in batch:
                    request.results.set_exception(error)
                continue
            start = 0
            for request in batch:
                request.results.set_result(results[start : start + len(request.items)])
                start += len(request.items)

    def _next(self) -> list[_Request[Item, Settings, Result]]:
        """The oldest request and all that fit to it, taken out of what waits."""
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
