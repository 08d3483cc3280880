"""Differences by asking a chat model: the prompt's turns, a JSON answer that is checked, one repair, or a rejection."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from idc_data.generate.answer import answer_tokens, read_answer
from idc_data.generate.ask import Asker, Asking, Question
from idc_data.generate.caption import ToAsk
from idc_data.generate.difference import Captioned, Difference, NearlyAllRejected
from idc_data.generate.endpoint import REFUSED
from idc_data.generate.prompt import Prompt, Turn
from idc_data.generate.rules import difference

References = Annotated[int, Field(ge=1, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Draft = Literal["rules"] | None
CONTRADICTION = "contradiction: "
"""What `rejected` begins with where the two orders contradict each other."""

_REVERSED = {"add": "drop", "drop": "add"}
_TRIAL = 64  # pairs after which a writer whose answers are nearly all rejected gives up
_PENDING = "(the answer of the model)"


class ChatWriter:
    """What the writers that ask a chat model have in common.

    Args:
        asker: The model.
        prompt: One of `PROMPTS`, or a file.
        draft: `rules` puts the sentence that `rules` would write into the prompt, for the model to improve.
        references: Sentences per pair.
        both_orders: Ask about the reversed pair too, and reject answers that contradict each other.
        most_rejected: Give up if a larger share of the first 64 pairs is rejected.
        images: The model sees both images.

    Raises:
        ValueError: The prompt is missing, or cannot be used.
    """

    def __init__(
        self,
        asker: Asker,
        prompt: Path,
        *,
        draft: Draft,
        references: int,
        both_orders: bool,
        most_rejected: float,
        images: bool = False,
    ) -> None:
        self.askers = (asker,)
        self._prompt = Prompt(prompt)
        self.prompt_text = self._prompt.text
        self._draft, self._references, self._both_orders = draft, references, both_orders
        self._most_rejected, self._images = most_rejected, images

    def to_ask(self, pairs: Sequence[Captioned]) -> ToAsk:
        """Return what would be asked, by stage of the prompt, without repairs; earlier answers are placeholders."""
        orders = self._orders(pairs)
        chats = [self._turns(pair) for pair in orders]
        asked: ToAsk = []
        while any(_open(chat) is not None for chat in chats):
            asked.append(self._stage(orders, chats))
            chats = [_filled(chat, _PENDING) for chat in chats]
        questions = [self._question(pair, chat) for pair, chat in zip(orders, chats, strict=True)]
        return [*asked, (self.askers[0], questions)]

    def __call__(self, pairs: Sequence[Captioned], asking: Asking) -> list[Difference]:
        """Write one difference per pair.

        Raises:
            NearlyAllRejected: Hardly any answer about the first pairs can be used.
        """
        size = self.askers[0].batch_size
        trial = -(-_TRIAL // size) * size
        written = self._written(pairs[:trial], asking)
        if len(pairs) <= trial:
            return written
        rejected = sum(each.rejected is not None for each in written)
        if rejected > self._most_rejected * trial:
            raise NearlyAllRejected(pairs[:trial], written)
        return written + self._written(pairs[trial:], asking)

    def _written(self, pairs: Sequence[Captioned], asking: Asking) -> list[Difference]:
        orders = self._orders(pairs)
        chats = [self._turns(pair) for pair in orders]
        while any(_open(chat) is not None for chat in chats):
            asker, questions = self._stage(orders, chats)
            said = asking(asker, questions, "difference, in stages")
            chats = [_filled(chat, text) for chat, text in zip(chats, said, strict=True)]
        questions = [self._question(pair, chat) for pair, chat in zip(orders, chats, strict=True)]
        said = self._repaired(questions, asking(self.askers[0], questions, "difference"), asking)
        written = [self._difference(text) for text in said]
        if not self._both_orders:
            return written
        return [_agreed(*both) for both in zip(written[: len(pairs)], written[len(pairs) :], strict=True)]

    def _repaired(self, questions: Sequence[Question], said: list[str], asking: Asking) -> list[str]:
        """Ask once more about answers that cannot be used, with what is wrong with them."""
        problems = {
            at: read
            for at, text in enumerate(said)
            if not text.startswith(REFUSED) and isinstance(read := read_answer(text, self._references), str)
        }
        repairs = [_repair(questions[at], said[at], problem) for at, problem in problems.items()]
        better = asking(self.askers[0], repairs, "repair")
        return [dict(zip(problems, better, strict=True)).get(at, text) for at, text in enumerate(said)]

    def _orders(self, pairs: Sequence[Captioned]) -> list[Captioned]:
        return [*pairs, *(pair.reversed() for pair in pairs if self._both_orders)]

    def _turns(self, pair: Captioned) -> list[Turn]:
        draft = difference(pair.before_captions[0], pair.after_captions[0])[0][0] if self._draft else ""
        turns = self._prompt.turns(pair.before_captions, pair.after_captions, references=self._references, draft=draft)
        if self._images:  # they belong to the first turn after the worked examples
            examples = [at for at, turn in enumerate(turns) if turn["role"] == "assistant" and turn["content"]]
            start = max(examples, default=-1) + 1
            about = next(at for at in range(start, len(turns)) if turns[at]["role"] == "user")
            turns[about] = {**turns[about], "images": True}
        return turns

    def _stage(self, pairs: Sequence[Captioned], chats: Sequence[list[Turn]]) -> tuple[Asker, list[Question]]:
        """What is asked up to the first turn that is left to the model."""
        return self.askers[0], [
            self._question(pair, chat[: _open(chat)], free=True) for pair, chat in zip(pairs, chats, strict=True)
        ]

    def _question(self, pair: Captioned, chat: Sequence[Turn], *, free: bool = False) -> Question:
        content: dict[str, Any] = {"chat": list(chat)} | ({"free": True} if free else {})
        if not self._images:
            return Question(content)
        return Question({**content, "images": [pair.before, pair.after]}, pair.files)

    def _difference(self, text: str) -> Difference:
        answer = read_answer(text, self._references)
        if isinstance(answer, str):
            return Difference(rejected=text, from_captions=not self._images)
        sentences = dict.fromkeys([answer.caption, *answer.paraphrases[: self._references - 1]])
        return Difference(
            references=tuple(sentences),
            change_type=answer.change_type,
            confidence=answer.confidence,
            from_captions=not self._images,
        )


def longest(max_new_tokens: int | None, references: int) -> int:
    """Return the most tokens of an answer: what the user says, or what so many sentences need."""
    return max_new_tokens or answer_tokens(references)


def _open(chat: Sequence[Turn]) -> int | None:
    """The first turn that is left to the model."""
    return next((at for at, turn in enumerate(chat) if turn["role"] == "assistant" and not turn["content"]), None)


def _filled(chat: list[Turn], text: str) -> list[Turn]:
    at = _open(chat)
    return chat if at is None else [*chat[:at], {"role": "assistant", "content": text or "nothing"}, *chat[at + 1 :]]


def _repair(question: Question, said: str, problem: str) -> Question:
    turns = [
        *question.content["chat"],
        {"role": "assistant", "content": said},
        {"role": "user", "content": f"{problem} Reply with the JSON object alone."},
    ]
    return Question({**question.content, "chat": turns}, question.files)


def _agreed(forth: Difference, back: Difference) -> Difference:
    """The difference, unless the one of the reversed pair contradicts it or could not be read."""
    if forth.rejected is not None or (back.rejected is None and _fits(forth.change_type, back.change_type)):
        return forth
    other = back.rejected if back.rejected is not None else f"{back.change_type}: {back.references[0]}"
    return Difference(
        rejected=f"{CONTRADICTION}{forth.change_type}: {forth.references[0]}; the reversed pair: {other}",
        from_captions=forth.from_captions,
    )


def _fits(forth: str, back: str) -> bool:
    if "other" in (forth, back):
        return "none" not in (forth, back)
    return back == _REVERSED.get(forth, forth)
