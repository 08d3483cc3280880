"""METEOR 1.5: Java processes that are kept for as long as they are needed and no longer."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import TracebackType
from typing import Self

from idc_eval.java import Java
from idc_eval.paraphrases import Paraphrases, words_of

MAX_WORDS = 300
"""How much of a caption METEOR reads. Its aligner takes minutes and all memory for a thousand words that repeat."""

_SHARE = 500  # questions that are worth one more process: it takes about as long to start as to answer them
_KEPT = 2**17  # answers
_ODD = re.compile(r"[^a-z0-9 ]")
# The compiler and the garbage collector that are done soonest; 2 GB hold even all paraphrases.
_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx2G")


class Meteor:
    """METEOR of hypotheses against references, in Java processes that start at the first score.

    Use it as a context manager: the processes are gone at the end, also after an error.

        with Meteor() as meteor:
            value, per_example = meteor.score(["a red cube"], [["the red cube", "a cube"]])

    Same program and protocol as pycocoevalcap's `Meteor`, hence the same values, whatever the number of processes.
    Faster because questions are written ahead, shared among processes and not asked twice, because paraphrases with
    words that no caption has are not loaded (see `idc_eval.paraphrases`), and because captions of nothing but letters
    and digits are not normalised, which would leave them as they are.

    Differs from pycocoevalcap: text beyond the first `MAX_WORDS` words is not read; `|||`, METEOR's separator, is
    taken out of references too; line breaks are blanks; a process that dies or hangs is an error, not a dead lock.

    Several threads may use one; they take turns.

    Args:
        timeout: Seconds to wait for one answer (the first one includes the start).
        processes: At most so many for plain captions, and as many for those with other signs. By default one for each
            core and 2 GB of memory, at most 4. A small set takes fewer.
    """

    def __init__(self, timeout: float = 180.0, processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise ValueError(f"processes is {processes}, expected 1 or more, or None")
        self._timeout = timeout
        self._limit = processes or _affordable()
        self._lock = Lock()
        self._paraphrases: Paraphrases | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._told: set[str] = set()  # words whose paraphrases the processes know
        self._running: dict[str, list[Java]] = {"-lower": [], "-norm": []}
        self._known: dict[str, str] = {}  # question to answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """METEOR of tokenised captions.

        Args:
            hypotheses: One per example, at least one.
            references: At least one per example.

        Returns:
            The corpus value (statistics are added up over examples before they are combined) and each example's,
            0..1, 1 for a hypothesis equal to a long reference.

        Raises:
            TimeoutError: No answer in time.
            ChildProcessError: A Java process ended.
        """
        questions = [
            " ||| ".join(["SCORE", *map(_plain, of_one), _plain(hypothesis)])
            for hypothesis, of_one in zip(hypotheses, references, strict=True)
        ]
        assert questions
        with self._lock:
            try:
                self._answer(questions)
                java = (self._running["-lower"] or self._started("-norm", 1))[0]
                java.send([" ||| ".join(["EVAL", *(self._known[question] for question in questions)])])
                *per_example, corpus = map(float, java.receive(len(questions) + 1, self._timeout))
            except BaseException as error:
                self._end()  # questions and answers may no longer be in step
                if isinstance(error, ChildProcessError):
                    raise ChildProcessError(f"{error}; leave `meteor` out to do without") from error
                raise
        return corpus, per_example

    def stop(self) -> None:
        """End the processes, after a score that another thread has under way; a later score starts others."""
        with self._lock:
            self._end()
            self._paraphrases = None
            self._known.clear()

    def _end(self) -> None:
        for kind in self._running.values():
            for java in kind:
                java.stop()
            kind.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _answer(self, questions: Sequence[str]) -> None:
        """Ask what is not known yet."""
        if len(self._known) > _KEPT:
            self._known.clear()
        new = [question for question in dict.fromkeys(questions) if question not in self._known]
        self._tell(words_of(new))
        plain, other = [], []
        for question in new:
            (other if _ODD.search("".join(question.split(" ||| ")[1:])) else plain).append(question)
        asked = []
        for kind, part in (("-lower", plain), ("-norm", other)):
            processes = self._started(kind, len(part))
            for number, java in enumerate(processes):
                share = part[number :: len(processes)]
                java.send(share)
                asked.append((java, share))
        for java, share in asked:
            self._known |= zip(share, java.receive(len(share), self._timeout), strict=True)

    def _tell(self, words: set[str]) -> None:
        """See to it that processes know the paraphrases of these words: they read them at their start."""
        self._paraphrases = self._paraphrases or Paraphrases.load()
        new = words & self._paraphrases.vocabulary - self._told
        if new or self._folder is None:
            self._end()
            self._told |= new
            self._folder = TemporaryDirectory(prefix="idc-eval-")
            self._paraphrases.write(self._told, Path(self._folder.name, "paraphrases.gz"))

    def _started(self, kind: str, questions: int) -> list[Java]:
        """Processes of a kind, enough for so many questions."""
        from pycocoevalcap.meteor import meteor

        assert self._folder
        running = self._running[kind]
        wanted = min(self._limit, math.ceil(questions / _SHARE))
        while len(running) < wanted:
            table = str(Path(self._folder.name, "paraphrases.gz"))
            options = [*_JAVA, "-jar", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", kind, "-a", table]
            running.append(Java("METEOR", options, Path(meteor.__file__).parent))
        return running[:wanted]


def _affordable() -> int:
    """Processes that there are cores and memory for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**32
    return max(1, min(4, cores, memory // 2**31))


def _plain(caption: str) -> str:
    return " ".join(re.split(r"[ \r\n]+", caption.replace("|||", ""))[:MAX_WORDS])
