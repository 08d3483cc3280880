"""Differences by language models: a prompt, an answer in JSON that is checked, repaired once, or rejected.

A repair shows the model its answer and says what is wrong with it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from idc_data.generate.answer import answer_schema, read_answer
from idc_data.generate.ask import Asker, Asking, Question
from idc_data.generate.caption import ToAsk
from idc_data.generate.difference import Captioned, Difference
from idc_data.generate.endpoint import REFUSED, Endpoint
from idc_data.generate.models import ChatModel, VisionModel

_PROMPTS = Path(__file__).parent / "prompts"
_References = Annotated[int, Field(ge=1, le=10)]
_REVERSED = {"add": "drop", "drop": "add"}
CONTRADICTION = "contradiction: "
"""What `rejected` begins with where the two orders do not fit."""


class _Writer:
    """What all of them do: prompts, checks, repairs; a subclass has the asker."""

    asker: Asker

    def __init__(self, prompt: Path | None, references: int, both_orders: bool, images: bool = False) -> None:
        default = _PROMPTS / ("difference_images.jinja" if images else "difference.jinja")
        text = (prompt or default).read_text(encoding="utf-8")
        self.prompt_text = text
        self._prompt = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True).from_string(text)
        self._references, self._both_orders, self._images = references, both_orders, images

    def to_ask(self, pairs: Sequence[Captioned]) -> ToAsk:
        """Every pair, and if so wished every pair the other way round; repairs are not foreseen."""
        orders = [pairs, [pair.reversed() for pair in pairs]] if self._both_orders else [pairs]
        return [(self.asker, [self._question(pair) for pair in some]) for some in orders]

    def __call__(self, pairs: Sequence[Captioned], asking: Asking) -> list[Difference]:
        """Writes one difference per pair."""
        questions = [question for _, some in self.to_ask(pairs) for question in some]
        said = asking(self.asker, questions, "difference")
        problems = {
            at: read for at, text in enumerate(said) if isinstance(read := read_answer(text, self._references), str)
        }
        again = {at: problem for at, problem in problems.items() if not said[at].startswith(REFUSED)}
        repaired = asking(self.asker, [_repair(questions[at], said[at], again[at]) for at in again], "repair")
        for at, text in zip(again, repaired, strict=True):
            said[at] = text
        written = [self._difference(text) for text in said]
        if not self._both_orders:
            return written
        return [_agreed(*orders) for orders in zip(written[: len(pairs)], written[len(pairs) :], strict=True)]

    def _question(self, pair: Captioned) -> Question:
        words = self._prompt.render(
            before=pair.before_captions[0],
            after=pair.after_captions[0],
            before_captions=pair.before_captions,
            after_captions=pair.after_captions,
            references=self._references,
        )
        content: dict[str, Any] = {"chat": [{"role": "user", "content": words}]}
        return (
            Question({**content, "images": [pair.before, pair.after]}, pair.files)
            if self._images
            else Question(content)
        )

    def _difference(self, text: str) -> Difference:
        answer = read_answer(text, self._references)
        if isinstance(answer, str):
            return Difference(rejected=text)
        said = dict.fromkeys([answer.caption, *answer.paraphrases[: self._references - 1]])
        return Difference(references=tuple(said), change_type=answer.change_type, confidence=answer.confidence)


class Llm(_Writer):
    """A chat model of transformers, greedy, batched with padding on the left.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote. Llama's weights are gated:
            accept the licence there, and log in with `hf auth login`.
        revision: Which version on the hub.
        prompt: A Jinja template that gets `before`, `after` (captions), `before_captions`, `after_captions` (all of
            them) and `references`; by default the one of this package.
        references: Wordings of each difference.
        both_orders: Ask the other way round too, and reject what contradicts itself, such as something that is added
            in both directions.
        batch_size: Pairs at a time.
        max_new_tokens: Most tokens of an answer.
        device: `auto` takes a GPU if there is one, in bfloat16.

    Raises:
        OSError: The prompt is missing.
    """

    def __init__(
        self,
        *,
        model: str = "meta-llama/Llama-3.2-3B-Instruct",
        revision: str = "main",
        prompt: Path | None = None,
        references: _References = 1,
        both_orders: bool = False,
        batch_size: PositiveInt = 16,
        max_new_tokens: PositiveInt = 200,
        device: str = "auto",
    ) -> None:
        super().__init__(prompt, references, both_orders)
        self.asker = ChatModel(
            model=model, revision=revision, batch_size=batch_size, max_new_tokens=max_new_tokens, device=device
        )


class Vlm(_Writer):
    """A vision-language model of transformers that sees both images, and reads both captions.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote; it has a chat template and
            takes several images.
        revision: Which version on the hub.
        prompt: As of `llm`; the images come before it.
        references: Wordings of each difference.
        both_orders: Ask the other way round too, and reject what contradicts itself.
        batch_size: Pairs at a time.
        max_new_tokens: Most tokens of an answer.
        device: `auto` takes a GPU if there is one, in bfloat16.

    Raises:
        OSError: The prompt is missing.
    """

    def __init__(
        self,
        *,
        model: str = "Qwen/Qwen2.5-VL-3B-Instruct",
        revision: str = "main",
        prompt: Path | None = None,
        references: _References = 1,
        both_orders: bool = False,
        batch_size: PositiveInt = 4,
        max_new_tokens: PositiveInt = 200,
        device: str = "auto",
    ) -> None:
        super().__init__(prompt, references, both_orders, images=True)
        self.asker = VisionModel(
            model=model, revision=revision, batch_size=batch_size, max_new_tokens=max_new_tokens, device=device
        )


class OpenAi(_Writer):
    """Any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one.

    Args:
        model: Its name at the endpoint.
        url: Up to and with `/v1`.
        key_variable: The environment variable that holds the key; a local server needs none.
        images: Send both images too.
        prompt: As of `llm`.
        references: Wordings of each difference.
        both_orders: Ask the other way round too, and reject what contradicts itself.
        json_schema: Send the schema of the answer; switch it off for servers that do not know it.
        concurrency: Requests at a time.
        requests_per_minute: Most of them; null for no limit.
        timeout: Seconds that an answer may take.
        retries: How often a question is asked again.
        max_new_tokens: Most tokens of an answer.
        temperature: 0 for the likeliest answer.
        seed: Sent along.
        price_in: Cost of a million tokens read.
        price_out: Cost of a million tokens written.

    Raises:
        OSError: The prompt is missing.
    """

    def __init__(
        self,
        *,
        model: str,
        url: str = "http://127.0.0.1:8000/v1",
        key_variable: str = "OPENAI_API_KEY",
        images: bool = False,
        prompt: Path | None = None,
        references: _References = 1,
        both_orders: bool = False,
        json_schema: bool = True,
        concurrency: PositiveInt = 8,
        requests_per_minute: PositiveFloat | None = None,
        timeout: PositiveFloat = 120.0,
        retries: NonNegativeInt = 6,
        max_new_tokens: PositiveInt = 200,
        temperature: NonNegativeFloat = 0.0,
        seed: int = 0,
        price_in: NonNegativeFloat = 0.0,
        price_out: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(prompt, references, both_orders, images)
        self.asker = Endpoint(
            model=model,
            url=url,
            key_variable=key_variable,
            concurrency=concurrency,
            requests_per_minute=requests_per_minute,
            timeout=timeout,
            retries=retries,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            schema=answer_schema(references) if json_schema else None,
            prices=(price_in, price_out),
        )


def _repair(question: Question, said: str, problem: str) -> Question:
    turns = [
        *question.content["chat"],
        {"role": "assistant", "content": said},
        {"role": "user", "content": f"{problem} Answer with the JSON object alone."},
    ]
    return question._replace(content={**question.content, "chat": turns})


def _agreed(forth: Difference, back: Difference) -> Difference:
    """The difference, unless the one the other way round contradicts it or could not be read."""
    if forth.rejected is not None or (back.rejected is None and _fits(forth.change_type, back.change_type)):
        return forth
    other = back.rejected if back.rejected is not None else f"{back.change_type}: {back.references[0]}"
    return Difference(
        rejected=f"{CONTRADICTION}{forth.change_type}: {forth.references[0]}; the other way round {other}"
    )


def _fits(forth: str, back: str) -> bool:
    if "other" in (forth, back):
        return "none" not in (forth, back)
    return back == _REVERSED.get(forth, forth)
