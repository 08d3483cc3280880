"""Stage 4, write the difference: from the captions of two images to a sentence that says what changed."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from idc_data.generate.answers import Answers
from idc_data.generate.embed import choose_device
from idc_data.generate.rules import difference
from idc_data.generate.stage import identity

WRITERS = {"rules": "idc_data.generate.difference:Rules", "llm": "idc_data.generate.difference:Llm"}
"""Name -> class with the method `__call__(captions of both images, answers) -> list[Difference]`."""

DIFFERENCES = pa.schema(
    [
        ("pair", pa.string()),
        ("references", pa.list_(pa.string())),
        ("change_type", pa.string()),
        ("confidence", pa.float64()),
        ("rejected", pa.string()),
    ]
)
"""One row per pair: its captions; or none, and in `rejected` what a model said that could not be read."""


class Difference(BaseModel):
    """What changed between two images."""

    model_config = ConfigDict(frozen=True)

    references: tuple[str, ...] = ()
    change_type: str = ""
    confidence: float | None = None
    rejected: str | None = None


class Rules:
    """Aligns the noun phrases of the two captions: no model, the baseline and the offline default.

    What it knows is what the two captions say: a thing that one caption leaves out is taken for gone.

    Args:
        references: Wordings of each difference.
    """

    def __init__(self, *, references: Annotated[int, Field(ge=1, le=3)] = 3) -> None:
        self._references = references

    def __call__(self, captions: Sequence[tuple[str, str]], answers: Answers) -> list[Difference]:
        """Writes one difference per pair of captions."""
        written = [difference(before, after) for before, after in captions]
        return [Difference(references=tuple(said[: self._references]), change_type=kind) for said, kind in written]


class _Answer(BaseModel):
    """The JSON that a language model is asked for."""

    model_config = ConfigDict(extra="ignore")

    caption: str = Field(min_length=3)
    change_type: Literal["add", "drop", "replace", "attribute", "none", "other"]
    confidence: float = Field(ge=0, le=1)


class Llm:
    """A chat model of transformers, batched with padding on the left; greedy, so that the same is always said.

    The answer is JSON, checked; a wrong one is asked for once more with the error, and rejected if that does not help.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote. Llama's weights are gated:
            accept the licence there, and log in with `hf auth login`.
        revision: Which version on the hub.
        prompt: A Jinja template that gets `before` and `after`; by default the one of this package.
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
        batch_size: PositiveInt = 16,
        max_new_tokens: PositiveInt = 120,
        device: str = "auto",
    ) -> None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        text = (prompt or Path(__file__).parent / "prompts" / "difference.jinja").read_text(encoding="utf-8")
        self._prompt = SandboxedEnvironment(undefined=StrictUndefined).from_string(text)
        self._identity = {
            "model": model,
            "revision": revision,
            "prompt": identity(text),
            "max_new_tokens": max_new_tokens,
        }
        self._batch_size, self._device = batch_size, device

    def __call__(self, captions: Sequence[tuple[str, str]], answers: Answers) -> list[Difference]:
        """Writes one difference per pair of captions."""
        chats = [
            [{"role": "user", "content": self._prompt.render(before=before, after=after)}] for before, after in captions
        ]
        said = self._ask(chats, answers)
        wrong = [index for index, text in enumerate(said) if isinstance(read_answer(text), str)]
        again = [
            [
                *chats[index],
                {"role": "assistant", "content": said[index]},
                {"role": "user", "content": f"{read_answer(said[index])} Answer with the JSON object alone."},
            ]
            for index in wrong
        ]
        for index, text in zip(wrong, self._ask(again, answers), strict=True):
            said[index] = text
        return [_difference(text) for text in said]

    def _ask(self, chats: Sequence[list[dict[str, str]]], answers: Answers) -> list[str]:
        def ask(some: Sequence[int]) -> list[str]:
            return self._generate([chats[index] for index in some])

        return list(answers.ask(chats, self._identity, ask, batch_size=self._batch_size))

    def _generate(self, chats: list[list[dict[str, str]]]) -> list[str]:
        import torch

        model, tokenizer = self._loaded
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        options = {"max_new_tokens": self._identity["max_new_tokens"], "pad_token_id": tokenizer.pad_token_id}
        with torch.inference_mode():
            tokens = model.generate(**inputs, **options, do_sample=False)
        return tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        name, revision = self._identity["model"], self._identity["revision"]
        device = choose_device(self._device)
        tokenizer: Any = AutoTokenizer.from_pretrained(name, revision=revision, padding_side="left")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        model: Any = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype)
        return model.eval().to(device), tokenizer


def read_answer(text: str) -> _Answer | str:
    """Read the JSON object in an answer; gives what is wrong with it as one sentence if it is no good."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return "That was no JSON object."
    try:
        return _Answer.model_validate_json(text[start : end + 1])
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'The object'}: {first['msg']}."


def _difference(text: str) -> Difference:
    answer = read_answer(text)
    if isinstance(answer, str):
        return Difference(rejected=text)
    return Difference(references=(answer.caption,), change_type=answer.change_type, confidence=answer.confidence)
