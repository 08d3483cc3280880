"""METEOR 1.5, computed by Java processes that live as long as they are needed."""

import math
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np

from idc_eval.java import QUICK, Java
from idc_eval.ngrams import Floats
from idc_eval.paraphrases import Paraphrases, words_of

MAX_WORDS = 300
"""The part of a caption that METEOR reads; each punctuation mark counts as a word. Its aligner takes minutes and all
memory for a thousand repeated words."""

_SHARE = 2000  # questions per process: answering so many takes about as long as starting a process
_KEPT = 2**17  # answers that are cached
_PIECE = re.compile(
    r"[^\W_\u017f-\u03ff\u0530-\U0010ffff]+|\S"
)  # yields at least as many pieces as METEOR's own tokenizer
_UNEVEN = re.compile(r"[\r\n]|  |\|\|\|")
_ODD = re.compile(r"[^a-z0-9 ]")
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_COLUMNS, _CHUNKS = 23, 20  # number of counts; column of the chunks
_MATCHES = (1.0, 0.6, 0.8, 0.6)  # weight of a match: exact, stem, synonym, paraphrase
_NORMALISED = {" n't ": " n 't ", " 's ": " ' s "}
"""How METEOR's normaliser splits the commonest words with an apostrophe."""


class Meteor:
    """METEOR of hypotheses against references; its Java processes start at the first score.

    Use it as a context manager: the processes end with it, also after an error.

        with Meteor() as meteor:
            value, per_example = meteor.score(["a red cube"], [["the red cube", "a cube"]])

    It uses the program and protocol of pycocoevalcap's `Meteor`, so it gives the same values with any number of
    processes. It is faster because questions are sent ahead, shared among processes and never repeated; because
    paraphrases with words in no caption are not loaded (see `idc_eval.paraphrases`); and because captions of only
    letters and digits skip the normaliser, which would not change them.

    Differs from pycocoevalcap: text after the first `MAX_WORDS` words is ignored; METEOR's separator `|||` is removed
    from references too; line breaks become spaces; a process that dies or hangs is an error, not a deadlock.

    Several threads may share one object; they take turns.

    Args:
        timeout: Seconds to wait for one answer (the first wait includes the start).
        processes: Maximum number of processes for plain captions, and again for captions with punctuation. By default
            one per core and 2 GB of memory, at most 4. A small set uses fewer.
    """

    def __init__(self, timeout: float = 180.0, processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise ValueError(f"processes is {processes}, expected 1 or more, or None")
        self.timeout = timeout
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
        """Compute METEOR of tokenised captions.

        Args:
            hypotheses: One per example, at least one.
            references: At least one per example.

        Returns:
            The value of the corpus (from counts summed over examples) and of each example, 0..1; 1 for a hypothesis
            equal to a long reference.

        Raises:
            TimeoutError: An answer did not come in time.
            ChildProcessError: A Java process ended.
        """
        counts = self.counts(hypotheses, references)
        return float(meteor_values(counts.sum(0))), meteor_values(counts).tolist()

    def counts(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
        """Compute the counts that METEOR sums over examples, `n 23`; see `meteor_values`.

        Raises: As `score`.
        """
        questions = [
            " ||| ".join(["SCORE", *map(_plain, of_one), _plain(hypothesis)])
            for hypothesis, of_one in zip(hypotheses, references, strict=True)
        ]
        with self._lock:
            try:
                self._answer(questions)
            except BaseException as error:
                self._end()  # questions and answers may be out of step
                if isinstance(error, ChildProcessError):
                    raise ChildProcessError(
                        f"{error}; leave `meteor` out of the metrics to score without it"
                    ) from error
                raise
            counts = np.array([self._known[question].split() for question in questions], float)
        # METEOR counts 0 chunks, not 1, for a hypothesis equal to its reference.
        whole = (_matches(counts).sum((-3, -2)) == counts[:, :2]).all(-1) & (counts[:, _CHUNKS] == 1)
        counts[whole, _CHUNKS] = 0
        return counts

    def stop(self) -> None:
        """End the processes once a running score has finished; a later score starts new ones."""
        with self._lock:
            self._end()
            self._paraphrases = None
            self._told.clear()
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
        """Ask the questions whose answers are not cached."""
        if len(self._known) > _KEPT:
            self._known.clear()
        new = [question for question in dict.fromkeys(questions) if question not in self._known]
        self._tell(words_of(new))
        plain, other = {}, {}
        for question in new:
            spelled = _normalised(question)
            (other if spelled is None else plain)[question] = spelled or question
        asked = []
        for kind, part in (("-lower", plain), ("-norm", other)):
            processes = self._started(kind, len(part))
            for number, java in enumerate(processes):
                share = list(part)[number :: len(processes)]
                java.send([part[question] for question in share])
                asked.append((java, share))
        for java, share in asked:
            for question, answer in zip(share, java.receive(len(share), self.timeout), strict=True):
                if len(answer.split()) != _COLUMNS:
                    raise ChildProcessError(f"METEOR answers {answer!r} to {question[:200]!r}")
                self._known[question] = answer

    def _tell(self, words: set[str]) -> None:
        """Restart processes that lack the paraphrases of these words; paraphrases are read at the start."""
        self._paraphrases = self._paraphrases or Paraphrases.load()
        new = words & self._paraphrases.vocabulary - self._told
        if new or self._folder is None:
            self._end()
            self._told |= new
            self._folder = TemporaryDirectory(prefix="idc-eval-")
            self._paraphrases.write(self._told, Path(self._folder.name, "paraphrases.gz"))

    def _started(self, kind: str, questions: int) -> list[Java]:
        """Return enough processes of a kind for a number of questions."""
        from pycocoevalcap.meteor import meteor

        assert self._folder
        running = self._running[kind]
        wanted = min(self._limit, math.ceil(questions / _SHARE))
        table = Path(self._folder.name, "paraphrases.gz")
        while len(running) < wanted:
            if not table.is_file():  # METEOR would silently continue without them
                raise ChildProcessError(f"METEOR's table of paraphrases is missing: {table}")
            options = ["-jar", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", kind, "-a", str(table)]
            running.append(Java("METEOR", [*QUICK, "-Xmx2G", *options], Path(meteor.__file__).parent))
        return running[:wanted]


def meteor_values(counts: Floats) -> Floats:
    """Compute METEOR 1.5 for English from counts or their sums.

    Source: Denkowski and Lavie, "Meteor Universal", WMT 2014, with the weights of its program.

    Args:
        counts: `... 23`: words of hypothesis and reference; function words of both; for each kind of match (exact,
            stem, synonym, paraphrase) matched content words of both and matched function words of both; chunks, 0 for
            a hypothesis that is its reference; words in chunks of both.
    """
    lengths, functions = counts[..., :2], counts[..., 2:4]
    weighed = np.einsum("...kws,k,w->...s", _matches(counts), _MATCHES, [_DELTA, 1 - _DELTA])
    with np.errstate(divide="ignore", invalid="ignore"):  # examples without a match become 0
        precision, recall = np.moveaxis(weighed / (_DELTA * (lengths - functions) + (1 - _DELTA) * functions), -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        fragments = counts[..., _CHUNKS] / counts[..., _CHUNKS + 1 :].mean(-1)
        return np.nan_to_num(np.maximum(mean * (1 - _GAMMA * fragments**_BETA), 0))


def _matches(counts: Floats) -> Floats:
    """Return matched words, `... kind_of_match kind_of_word side`."""
    return counts[..., 4:_CHUNKS].reshape(*counts.shape[:-1], 4, 2, 2)


def _affordable() -> int:
    """Return the number of processes that the cores and memory allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**32
    return max(1, min(4, cores, memory // 2**31))


def _normalised(question: str) -> str | None:
    """Normalise a question as METEOR would; None if only METEOR's normaliser can."""
    rest = question.removeprefix("SCORE").replace(" ||| ", "  ") + " "
    for word in _NORMALISED:
        rest = rest.replace(word, "  ")
    if _ODD.search(rest):
        return None
    question += " "
    for word, made in _NORMALISED.items():
        question = question.replace(word, made)
    return question.removesuffix(" ")


def _plain(caption: str) -> str:
    """Return a caption on one line, without METEOR's separator, cut to `MAX_WORDS`."""
    if _UNEVEN.search(caption):
        caption = re.sub(r"[ \r\n]+", " ", caption.replace("|||", ""))
    if len(caption) > MAX_WORDS:
        for last in islice(_PIECE.finditer(caption), MAX_WORDS - 1, MAX_WORDS):
            return caption[: last.end()]
    return caption
