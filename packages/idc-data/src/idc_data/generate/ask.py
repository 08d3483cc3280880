"""Asking models: each question once, in batches, and each answer stored as soon as it comes."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from idc_data.generate.answers import Answers
from idc_data.generate.progress import Progress
from idc_data.generate.stage import identity
from idc_data.images import load_image


@dataclass(frozen=True)
class Question:
    """A question to a model.

    Attributes:
        content: Plain values; together with the asker's identity, all that the answer depends on.
        files: Paths of the images that it is about; `content` holds their identities.
        decoded: Returns the decoded images, if a thread decodes them already.
    """

    content: Any
    files: tuple[str, ...] = ()
    decoded: Callable[[], list[Image.Image]] | None = field(default=None, compare=False, repr=False)

    def images(self) -> list[Image.Image]:
        """Return the images, decoded."""
        return self.decoded() if self.decoded else [Image.fromarray(load_image(Path(file))) for file in self.files]


class Said(NamedTuple):
    """An answer, and the tokens that were read and written for it, where the model counts them."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Asker(Protocol):
    """Whoever answers questions: a model in memory, which is loaded when first asked, or a server.

    An asker may also have a method `check()`, which raises ValueError if it could not answer. It is called before the
    first question of a generation is asked, of this asker or another.

    Attributes:
        batch_size: Most questions at a time.
        in_process: It is asked in this process whatever the engine is, since a server holds the model.
        prices: Cost of a million tokens read, and of a million written.
    """

    @property
    def identity(self) -> Any:
        """Plain values; together with a question, all that an answer depends on."""
        ...

    batch_size: int
    in_process: bool
    prices: tuple[float, float]

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Yield answers as they come, each with the index of its question."""
        ...


class Engine(Protocol):
    """Has batches of questions answered: one after the other in this process, or by many processes."""

    def run(self, asker: Asker, batches: Sequence[Sequence[Question]]) -> Iterator[tuple[int, list[tuple[int, Said]]]]:
        """Yield the index of a batch with answers to it, in any order."""
        ...


class Local:
    """Asks one batch after the other in this process; threads decode the images of the next batch meanwhile."""

    def run(self, asker: Asker, batches: Sequence[Sequence[Question]]) -> Iterator[tuple[int, list[tuple[int, Said]]]]:
        """Yield the index of a batch with answers to it."""
        if asker.in_process or not any(question.files for batch in batches[:1] for question in batch):
            for index, batch in enumerate(batches):
                for some in asker.ask(batch):
                    yield index, some
            return
        with ThreadPoolExecutor() as pool:

            def ahead(batch: Sequence[Question]) -> list[Question]:
                return [replace(question, decoded=pool.submit(question.images).result) for question in batch]

            following = ahead(batches[0])
            for index in range(len(batches)):
                batch, following = following, ahead(batches[index + 1]) if index + 1 < len(batches) else []
                for some in asker.ask(batch):
                    yield index, some


ENGINES = {"local": "idc_data.generate.ask:Local", "ray": "idc_data.generate.ray_engine:Ray"}
"""Name -> class that is an `Engine`."""


@dataclass
class Spent:
    """What the questions of a stage cost."""

    asked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def notes(self) -> dict[str, Any]:
        """Return what is not zero, for people."""
        named = {
            "asked of a model": self.asked,
            "tokens read": self.tokens_in,
            "tokens written": self.tokens_out,
            "cost": round(self.cost, 4),
        }
        return {name: value for name, value in named.items() if value}


class Asking:
    """Has questions answered: known answers come from the cache, the others from the asker, through the engine.

    Args:
        answers: The cache.
        engine: Runs the askers.
        progress: Shows how far it is.
        check: Askers that are checked before the first question is asked, so that nothing is spent on a generation
            whose later models are missing.
    """

    def __init__(self, answers: Answers, engine: Engine, progress: Progress, check: Sequence[Asker] = ()) -> None:
        self._answers, self._engine, self._progress, self._to_check = answers, engine, progress, list(check)
        self.spent = Spent()

    def __call__(self, asker: Asker, questions: Sequence[Question], what: str) -> list[str]:
        """Return the answers in the order of the questions; equal questions are asked once.

        Batches are the same after a kill as without one, since a batch is stored whole or not at all.

        Raises:
            ValueError: An asker cannot answer.
        """
        keys, unknown = self._unknown(asker, questions)
        if unknown:
            self._check()
        size = asker.batch_size
        batches = [unknown[start : start + size] for start in range(0, len(unknown), size)]
        asks = [[question for _, question in batch] for batch in batches]
        answered = self._stored(asker, batches, self._engine.run(asker, asks) if asks else iter(()))
        for _ in self._progress(answered, what, len(unknown)):
            pass
        known = self._answers.get(keys)
        return [known[key] for key in keys]

    def unanswered(self, asker: Asker, questions: Sequence[Question]) -> list[Question]:
        """Return the questions that would have to be asked, each once."""
        return [question for _, question in self._unknown(asker, questions)[1]]

    def average(self, asker: Asker) -> tuple[int, float, float, float]:
        """Return the number of answers of an asker, and their mean seconds, tokens read and tokens written."""
        return self._answers.average(identity(asker.identity))

    def _check(self) -> None:
        while self._to_check:
            if check := getattr(self._to_check[0], "check", None):
                check()
            self._to_check.pop(0)

    def _unknown(self, asker: Asker, questions: Sequence[Question]) -> tuple[list[str], list[tuple[str, Question]]]:
        keys = [identity([asker.identity, question.content]) for question in questions]
        known = self._answers.get(keys)
        asked = dict(zip(reversed(keys), reversed(questions), strict=True))  # of equal ones, the first
        return keys, [(key, asked[key]) for key in dict.fromkeys(keys) if key not in known]

    def _stored(
        self,
        asker: Asker,
        batches: Sequence[Sequence[tuple[str, Question]]],
        answered: Iterable[tuple[int, list[tuple[int, Said]]]],
    ) -> Iterator[None]:
        who, began = identity(asker.identity), time.monotonic()
        for batch, some in answered:
            seconds = (time.monotonic() - began) / max(len(some), 1)
            self._answers.put(who, [(batches[batch][index][0], said.text, *said[1:], seconds) for index, said in some])
            for _, said in some:
                self.spent.asked += 1
                self.spent.tokens_in += said.tokens_in
                self.spent.tokens_out += said.tokens_out
                self.spent.cost += (said.tokens_in * asker.prices[0] + said.tokens_out * asker.prices[1]) / 1e6
                yield
            began = time.monotonic()
