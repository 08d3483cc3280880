"""Asking models: every question once, in batches, and every answer kept as soon as it is there."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from idc_data.generate.answers import Answers
from idc_data.generate.progress import Progress
from idc_data.generate.stage import identity
from idc_data.images import load_image
from idc_data.wording import counted


class Question(NamedTuple):
    """What a model is asked."""

    content: Any
    """Plain values: with who is asked, all that the answer depends on."""
    files: tuple[str, ...] = ()
    """Where the images that it is about lie; `content` holds their identities."""

    def images(self) -> list[Image.Image]:
        """Reads the images."""
        return [Image.fromarray(load_image(Path(file))) for file in self.files]


class Said(NamedTuple):
    """What a model said, and the tokens that it read and wrote, where it counts them."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Asker(Protocol):
    """Whoever answers: a model in memory, which is loaded when first asked, or a server.

    Attributes:
        identity: Plain values: with the question, all that an answer depends on.
        batch_size: Most questions at a time.
        in_process: Whether it is asked in this process, whatever the engine: a server has the model, not the asker.
        prices: Cost of a million tokens read, and of a million written.
    """

    identity: Any
    batch_size: int
    in_process: bool
    prices: tuple[float, float]

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Gives, whenever there are any, the answers that have come, each with the index of its question."""
        ...


class Engine(Protocol):
    """Whatever has batches of questions answered: one after the other in this process, or by many processes."""

    def run(self, asker: Asker, batches: Sequence[Sequence[Question]]) -> Iterator[tuple[int, list[tuple[int, Said]]]]:
        """Gives the index of a batch with answers to it, in any order."""
        ...


class Local:
    """One batch after the other, in this process."""

    def run(self, asker: Asker, batches: Sequence[Sequence[Question]]) -> Iterator[tuple[int, list[tuple[int, Said]]]]:
        """Gives the index of a batch with answers to it."""
        for index, batch in enumerate(batches):
            for some in asker.ask(batch):
                yield index, some


ENGINES = {"local": "idc_data.generate.ask:Local", "ray": "idc_data.generate.ray_engine:Ray"}
"""Name -> class with the method `run` of `Engine`."""


@dataclass
class Spent:
    """What asking cost."""

    asked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def notes(self) -> dict[str, Any]:
        """Gives what is not zero, for people."""
        named = {
            "asked of a model": self.asked,
            "tokens read": self.tokens_in,
            "tokens written": self.tokens_out,
            "cost": round(self.cost, 4),
        }
        return {name: value for name, value in named.items() if value}


class Asking:
    """Has questions answered: what is known comes from the cache, the rest from the asker, through the engine.

    Args:
        answers: The cache.
        engine: Who runs the asker.
        progress: Shows how far it is.
    """

    def __init__(self, answers: Answers, engine: Engine, progress: Progress) -> None:
        self._answers, self._engine, self._progress = answers, engine, progress
        self.spent = Spent()

    def __call__(self, asker: Asker, questions: Sequence[Question], what: str) -> list[str]:
        """Gives the answers in the order of the questions; equal questions are asked once.

        Batches are the same after a kill as without one, since a batch is kept whole or not at all.
        """
        keys, unknown = self._unknown(asker, questions)
        size = asker.batch_size
        batches = [unknown[start : start + size] for start in range(0, len(unknown), size)]
        asks = [[question for _, question in batch] for batch in batches]
        answered = self._kept(asker, batches, self._engine.run(asker, asks) if asks else iter(()))
        for _ in self._progress(answered, what, len(unknown)):
            pass
        known = self._answers.get(keys)
        return [known[key] for key in keys]

    def estimate(self, asker: Asker, questions: Sequence[Question]) -> str:
        """Says, for people, what it would take to have the questions answered; nobody is asked."""
        num = len(self._unknown(asker, questions)[1])
        parts = [
            counted(num, "question") + (f", {len(questions) - num:,} more are answered" if num < len(questions) else "")
        ]
        seen, seconds, tokens_in, tokens_out = self._answers.average(identity(asker.identity))
        if num and seen:
            parts.append(f"about {num * seconds / 60:,.1f} minutes, as fast as the {seen:,} asked before")
        if num and seen and tokens_in + tokens_out:
            cost = num * (tokens_in * asker.prices[0] + tokens_out * asker.prices[1]) / 1e6
            parts.append(
                f"{num * tokens_in:,.0f} tokens to read and {num * tokens_out:,.0f} to write, cost {cost:,.2f}"
            )
        elif num and not seen:
            parts.append("time and tokens are known once some were asked (try `limit`)")
        return "; ".join(parts)

    def _unknown(self, asker: Asker, questions: Sequence[Question]) -> tuple[list[str], list[tuple[str, Question]]]:
        keys = [identity([asker.identity, question.content]) for question in questions]
        known = self._answers.get(keys)
        asked = dict(zip(reversed(keys), reversed(questions), strict=True))  # of equal ones, the first
        return keys, [(key, asked[key]) for key in dict.fromkeys(keys) if key not in known]

    def _kept(
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
