"""Models of transformers that answer questions in batches: chat models, and models that see images.

Both take the same kind of question: `{"chat": turns, "draw": n}`, with turns as chat templates take them. The images of
`Question.files` are placed before the words of the turn that has `"images": True`, or of the first turn.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from pydantic import NonNegativeFloat, PositiveInt
from transformers import LogitsProcessor

from idc_data.generate.ask import Question, Said
from idc_data.generate.constrained import follow_schema
from idc_data.generate.loading import Halving, Weights
from idc_data.generate.prefix import read_prefix
from idc_data.generate.prompt import Turn, image_turn
from idc_data.generate.stage import identity

DATE = "26 Jul 2024"
"""The date that chat templates are given. Llama 3's inserts today's otherwise, and no question would come twice."""


class _Model:
    """What both kinds of model share.

    Args:
        weights: The model.
        batch_size: Most questions at a time; where memory runs out, fewer.
        max_new_tokens: Most tokens of an answer.
        beam: Hypotheses kept by beam search; 1 is greedy.
        temperature: Above 0, answers are sampled; the same question, `draw` and seed give the same answer.
        seed: Of sampling.
        stop: Texts that end an answer; they are no part of it.
        date: Given to the chat template as today's.
        schema: A JSON schema that answers are constrained to; questions with `"free": True` are exempt.
    """

    in_process = False
    prices = (0.0, 0.0)
    _needs_template = False
    _shares_prefix = False

    def __init__(
        self,
        weights: Weights,
        *,
        batch_size: PositiveInt = 16,
        max_new_tokens: PositiveInt = 120,
        beam: PositiveInt = 1,
        temperature: NonNegativeFloat = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        date: str = DATE,
        schema: dict[str, Any] | None = None,
    ) -> None:
        self._weights, self._options = weights, {"max_new_tokens": max_new_tokens, "beam": beam, "date": date}
        if temperature:
            self._options |= {"temperature": temperature, "seed": seed}
        if stop:
            self._options["stop"] = list(stop)
        if schema:
            self._options["schema"] = schema
        self.batch_size, self._halving = batch_size, Halving()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on, but for the question."""
        return self._weights.identity | self._options

    def check(self) -> None:
        """Check that the model can be loaded, without loading it.

        Raises:
            ValueError: It cannot.
        """
        self._weights.check(chat=self._needs_template)

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Yield all answers at once.

        Raises:
            ValueError: Memory does not suffice for a single question.
        """
        for free in (False, True):
            at = [i for i, question in enumerate(questions) if bool(question.content.get("free")) == free]
            if at:
                yield list(zip(at, self._halving(self._answers, [questions[i] for i in at]), strict=True))

    def _answers(self, questions: Sequence[Question]) -> list[Said]:
        model, processor = self._loaded()
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
            for name, value in self._inputs(processor, questions).items()
        }
        tokenizer = getattr(processor, "tokenizer", processor)
        with torch.inference_mode():
            if self._shares_prefix and self._options["beam"] == 1:
                pad = tokenizer.pad_token_id
                inputs = read_prefix(model, inputs["input_ids"], inputs["attention_mask"], pad) or inputs
            tokens = model.generate(**inputs, **self._decoding(model, tokenizer, questions))
        read = inputs.get("input_ids")
        if read is not None and torch.equal(tokens[:, : read.shape[1]], read):  # decoders repeat what they read
            tokens = tokens[:, read.shape[1] :]
        counts_in = inputs["attention_mask"].sum(1).tolist() if "attention_mask" in inputs else [0] * len(questions)
        counts_out = (tokens != tokenizer.pad_token_id).sum(1).tolist()
        texts = processor.batch_decode(tokens, skip_special_tokens=True)
        return [Said(self._stopped(text), *counts) for text, *counts in zip(texts, counts_in, counts_out, strict=True)]

    def _decoding(self, model: Any, tokenizer: Any, questions: Sequence[Question]) -> dict[str, Any]:
        options: dict[str, Any] = {
            "num_beams": self._options["beam"],
            "max_new_tokens": self._options["max_new_tokens"],
            "do_sample": False,
        }
        if stop := self._options.get("stop"):
            options |= {"stop_strings": stop, "tokenizer": tokenizer}
        processors: list[LogitsProcessor] = []
        schema = self._options.get("schema")
        if schema and not questions[0].content.get("free"):
            processors.append(follow_schema(schema, tokenizer, model.config.get_text_config().vocab_size))
        if temperature := self._options.get("temperature"):
            seeds = [int(identity([question.content, self._options["seed"]]), 16) >> 1 for question in questions]
            processors.append(Drawn(temperature, seeds))
        return options | ({"logits_processor": processors} if processors else {})

    def _stopped(self, text: str) -> str:
        for stop in self._options.get("stop", ()):
            text = text.partition(stop)[0]
        return text.strip()

    def _templated(self, processor: Any, chats: list[Any]) -> Any:
        def apply(chats: list[Any]) -> Any:
            date = self._options["date"]
            return processor.apply_chat_template(
                chats,
                add_generation_prompt=True,
                tokenize=True,
                padding=True,
                return_tensors="pt",
                return_dict=True,
                date_string=date,
                strftime_now=lambda form: date,
            )

        try:
            return apply(chats)
        except TemplateError:  # some templates, such as Gemma's, refuse a turn of the system
            return apply([without_system(chat) for chat in chats])

    def _loaded(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def _inputs(self, processor: Any, questions: Sequence[Question]) -> Any:
        raise NotImplementedError


class ChatModel(_Model):
    """A chat model, padded on the left."""

    _needs_template = True
    _shares_prefix = True

    def _loaded(self) -> tuple[Any, Any]:
        return self._weights.load("AutoModelForCausalLM", "AutoTokenizer")

    def _inputs(self, processor: Any, questions: Sequence[Question]) -> Any:
        return self._templated(processor, [question.content["chat"] for question in questions])


class VisionModel(_Model):
    """An image-text-to-text model: BLIP, BLIP-2, or a newer one with a chat template.

    Models without a chat template get the images and, if it is not empty, the text of the only turn.
    """

    def _loaded(self) -> tuple[Any, Any]:
        return self._weights.load("AutoModelForImageTextToText", "AutoProcessor")

    def _inputs(self, processor: Any, questions: Sequence[Question]) -> Any:
        images = [question.images() for question in questions]
        if getattr(processor, "chat_template", None):
            asked = zip(questions, images, strict=True)
            return self._templated(
                processor, [_with_images(question.content["chat"], some) for question, some in asked]
            )
        texts = [question.content["chat"][0]["content"] for question in questions]
        words = {"text": texts, "padding": True} if any(texts) else {}
        return processor(images=[image for some in images for image in some], **words, return_tensors="pt")


class Drawn(LogitsProcessor):
    """Makes greedy decoding sample: the largest of logits plus Gumbel noise is a sample of their softmax.

    Every row has noise of its own, so that it draws the same in any batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self._temperature = temperature
        self._noise = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Add each row's noise to its logits, `rows words`."""
        noise = [-torch.empty(scores.shape[1]).exponential_(generator=generator).log() for generator in self._noise]
        return scores.float() / self._temperature + torch.stack(noise).to(scores.device)


def _with_images(chat: Sequence[Turn], images: Sequence[Image.Image]) -> list[Turn]:
    """The turns, each as a list of parts, with the images before the words of their turn."""
    place, parts = image_turn(chat), [{"type": "image", "image": image} for image in images]
    return [
        {"role": turn["role"], "content": [*(parts if at == place else ()), {"type": "text", "text": turn["content"]}]}
        for at, turn in enumerate(chat)
    ]


def without_system(chat: list[Turn]) -> list[Turn]:
    """The turns with the words of the system at the beginning of the user's first turn."""
    first, *others = chat
    if first["role"] != "system" or not others:
        return chat
    words, asked = first["content"], others[0]["content"]
    joined = f"{words}\n\n{asked}" if isinstance(words, str) else [*words, *asked]
    return [{**others[0], "content": joined}, *others[1:]]
