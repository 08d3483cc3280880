"""Models of transformers, asked in batches: chat models, and models that see images.

Both are asked the same kind of question: `{"chat": turns, "draw": n}`, turns as chat templates take them. The images of
`Question.files` go before the words of the first turn.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from PIL import Image
from pydantic import NonNegativeFloat, PositiveInt
from transformers import LogitsProcessor

from idc_data.generate.ask import Question, Said
from idc_data.generate.stage import identity
from idc_data.hub import without_retries_logged


class _Model:
    """What both kinds share.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote.
        revision: Which version on the hub.
        batch_size: Questions at a time.
        max_new_tokens: Most tokens of an answer.
        beam: Hypotheses kept; 1 is greedy.
        temperature: Above 0 an answer is drawn at random, always the same one for the same question, `draw` and seed.
        seed: Of the draws.
        device: `auto` takes a GPU if there is one, in half precision.

    Raises:
        OSError: The model cannot be had.
    """

    in_process = False
    prices = (0.0, 0.0)

    def __init__(
        self,
        *,
        model: str,
        revision: str = "main",
        batch_size: PositiveInt = 16,
        max_new_tokens: PositiveInt = 120,
        beam: PositiveInt = 1,
        temperature: NonNegativeFloat = 0.0,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.identity = {"model": model, "revision": revision, "max_new_tokens": max_new_tokens, "beam": beam}
        if temperature:
            self.identity |= {"temperature": temperature, "seed": seed}
        self.batch_size, self._device = batch_size, device

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Gives all answers at once."""
        model, processor = self._loaded()
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
            for name, value in self._inputs(processor, questions).items()
        }
        options: dict[str, Any] = {
            "num_beams": self.identity["beam"],
            "max_new_tokens": self.identity["max_new_tokens"],
            "do_sample": False,
        }
        tokenizer = getattr(processor, "tokenizer", processor)
        if temperature := self.identity.get("temperature"):
            seeds = [int(identity([question.content, self.identity["seed"]]), 16) >> 1 for question in questions]
            options["logits_processor"] = [Drawn(temperature, seeds)]
        with torch.inference_mode():
            tokens = model.generate(**inputs, **options)
        read = inputs.get("input_ids")
        if read is not None and torch.equal(tokens[:, : read.shape[1]], read):  # decoders repeat what they read
            tokens = tokens[:, read.shape[1] :]
        counts_in = inputs["attention_mask"].sum(1).tolist() if "attention_mask" in inputs else [0] * len(questions)
        counts_out = (tokens != tokenizer.pad_token_id).sum(1).tolist()
        texts = processor.batch_decode(tokens, skip_special_tokens=True)
        yield [(i, Said(text.strip(), counts_in[i], counts_out[i])) for i, text in enumerate(texts)]

    def _loaded(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def _inputs(self, processor: Any, questions: Sequence[Question]) -> Any:
        raise NotImplementedError


class ChatModel(_Model):
    """A chat model, padded on the left."""

    def _loaded(self) -> tuple[Any, Any]:
        return _load(
            "AutoModelForCausalLM", "AutoTokenizer", *map(self.identity.get, ("model", "revision")), self._device
        )

    def _inputs(self, processor: Any, questions: Sequence[Question]) -> Any:
        return processor.apply_chat_template(
            [question.content["chat"] for question in questions],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )


class VisionModel(_Model):
    """An image-text-to-text model: BLIP, BLIP-2, or a newer one with a chat template.

    Models without a chat template get the images and, if it is not empty, the text of the only turn.
    """

    def _loaded(self) -> tuple[Any, Any]:
        where = map(self.identity.get, ("model", "revision"))
        return _load("AutoModelForImageTextToText", "AutoProcessor", *where, self._device)

    def _inputs(self, processor: Any, questions: Sequence[Question]) -> Any:
        images = [question.images() for question in questions]
        if getattr(processor, "chat_template", None):
            chats = [
                _with_images(question.content["chat"], some) for question, some in zip(questions, images, strict=True)
            ]
            return processor.apply_chat_template(
                chats, add_generation_prompt=True, tokenize=True, return_dict=True, padding=True, return_tensors="pt"
            )
        texts = [question.content["chat"][0]["content"] for question in questions]
        words = {"text": texts, "padding": True} if any(texts) else {}
        return processor(images=[image for some in images for image in some], **words, return_tensors="pt")


class Drawn(LogitsProcessor):
    """Makes greedy decoding draw from the model: the largest of logits plus Gumbel noise is a sample of their softmax.

    Every row has noise of its own, so that it draws the same in any batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self._temperature = temperature
        self._noise = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Add each row's noise to its logits, `rows words`."""
        noise = [-torch.empty(scores.shape[1]).exponential_(generator=generator).log() for generator in self._noise]
        return scores.float() / self._temperature + torch.stack(noise).to(scores.device)


def choose_device(device: str) -> torch.device:
    """Gives the device of this name; `auto` is a GPU if there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


@cache
@without_retries_logged()
def _load(model_class: str, processor_class: str, name: str, revision: str, device: str) -> tuple[Any, Any]:
    import transformers

    where = choose_device(device)
    dtype = torch.float32 if where.type == "cpu" else torch.bfloat16
    processor: Any = getattr(transformers, processor_class).from_pretrained(name, revision=revision)
    tokenizer = getattr(processor, "tokenizer", processor)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model: Any = getattr(transformers, model_class).from_pretrained(name, revision=revision, dtype=dtype)
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval().to(where), processor


def _with_images(chat: list[dict[str, Any]], images: list[Image.Image]) -> list[dict[str, Any]]:
    turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in chat]
    turns[0]["content"] = [{"type": "image", "image": image} for image in images] + turns[0]["content"]
    return turns
