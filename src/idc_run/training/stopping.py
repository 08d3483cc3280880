"""Ctrl-C and SIGTERM during training: finish the step, save a checkpoint, and stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal stopped the run; in a step of training, after the step and a checkpoint.

    Attributes:
        code: The exit code, 128 plus the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


class Stop:
    """The signal handler of a training run.

    Attributes:
        asked: The signal that asked training to stop after the current step; None if there was none.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._busy = False

    @contextmanager
    def after(self) -> Iterator[None]:
        """Defer a signal until this block has ended; a second signal stops training at once."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Stopped: No step is in progress, or this is the second signal.
        """
        if not self._busy or self.asked is not None:
            raise Stopped(number)
        self.asked = number


@contextmanager
def stopping() -> Iterator[Stop]:
    """Handle Ctrl-C and SIGTERM. Does nothing outside the main thread, where Python delivers no signals.

    Raises:
        Stopped: A signal arrived. Errors that follow from it, for example because another process of torchrun stopped
            first, are converted to it.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except Exception as error:
        if stop.asked is None:
            raise
        raise Stopped(stop.asked) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
