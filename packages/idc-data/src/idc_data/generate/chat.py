"""The writers that ask a chat model: `llm` and `vlm` run it here with transformers, `openai` asks an endpoint."""

from pathlib import Path

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from idc_data.generate.answer import answer_schema
from idc_data.generate.chat_writer import ChatWriter, Draft, References, Share, longest
from idc_data.generate.constrained import check_installed
from idc_data.generate.endpoint import Endpoint
from idc_data.generate.loading import Dtype, Weights
from idc_data.generate.models import DATE, ChatModel, VisionModel


class Llm(ChatWriter):
    """A chat model of transformers that reads the captions: greedy decoding in batches.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote. Llama's weights are gated:
            accept the licence there, and log in with `hf auth login`.
        revision: A branch, tag or commit on the hub.
        prompt: `examples` (three worked examples as turns), `plain` (one turn), `staged` (first the things, then the
            sentence), or a Jinja file; see `Prompt`.
        draft: `rules` puts the sentence that `rules` would write into the prompt, for the model to improve.
        references: Sentences per pair: the caption and paraphrases of it.
        both_orders: Ask about the reversed pair too, and reject answers that contradict each other, such as something
            that is added in both directions.
        json_schema: Constrain answers to the JSON schema, with xgrammar.
        most_rejected: Give up if a larger share of the first 64 pairs is rejected; 1 never gives up.
        batch_size: Most pairs at a time; where memory runs out, fewer.
        max_new_tokens: Most tokens of an answer; by default what `references` sentences need.
        stop: Texts that end an answer.
        date: Given to the chat template as today's, so that answers do not depend on the day.
        device: `auto` is a GPU if there is one, else the CPU.
        dtype: `auto` is bfloat16 on a GPU and float32 on a CPU.
        device_map: How accelerate spreads a large model over devices, such as `auto`.
        four_bit: Quantize the weights to 4 bits while loading, with bitsandbytes.

    Raises:
        ValueError: The prompt cannot be used, or xgrammar is missing.
    """

    def __init__(
        self,
        *,
        model: str = "meta-llama/Llama-3.2-3B-Instruct",
        revision: str = "main",
        prompt: Path = Path("examples"),
        draft: Draft = None,
        references: References = 1,
        both_orders: bool = False,
        json_schema: bool = False,
        most_rejected: Share = 0.95,
        batch_size: PositiveInt = 16,
        max_new_tokens: PositiveInt | None = None,
        stop: tuple[str, ...] = (),
        date: str = DATE,
        device: str = "auto",
        dtype: Dtype = "auto",
        device_map: str | None = None,
        four_bit: bool = False,
    ) -> None:
        if json_schema:
            check_installed()
        super().__init__(
            ChatModel(
                Weights(model, revision, device, dtype, device_map, four_bit),
                batch_size=batch_size,
                max_new_tokens=longest(max_new_tokens, references),
                stop=stop,
                date=date,
                schema=answer_schema(references) if json_schema else None,
            ),
            prompt,
            draft=draft,
            references=references,
            both_orders=both_orders,
            most_rejected=most_rejected,
        )


class Vlm(ChatWriter):
    """A vision-language model of transformers that sees both images and reads both captions.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote; it has a chat template and
            takes several images.
        revision: A branch, tag or commit on the hub.
        prompt: `images`, another prompt of `llm`, or a Jinja file; the images come before its words.
        draft: As of `llm`.
        references: Sentences per pair.
        both_orders: Ask about the reversed pair too, and reject answers that contradict each other.
        json_schema: Constrain answers to the JSON schema, with xgrammar.
        most_rejected: Give up if a larger share of the first 64 pairs is rejected; 1 never gives up.
        batch_size: Most pairs at a time; where memory runs out, fewer.
        max_new_tokens: Most tokens of an answer; by default what `references` sentences need.
        stop: Texts that end an answer.
        date: Given to the chat template as today's.
        device: `auto` is a GPU if there is one, else the CPU.
        dtype: `auto` is bfloat16 on a GPU and float32 on a CPU.
        device_map: How accelerate spreads a large model over devices, such as `auto`.
        four_bit: Quantize the weights to 4 bits while loading, with bitsandbytes.

    Raises:
        ValueError: The prompt cannot be used, or xgrammar is missing.
    """

    def __init__(
        self,
        *,
        model: str = "Qwen/Qwen2.5-VL-3B-Instruct",
        revision: str = "main",
        prompt: Path = Path("images"),
        draft: Draft = None,
        references: References = 1,
        both_orders: bool = False,
        json_schema: bool = False,
        most_rejected: Share = 0.95,
        batch_size: PositiveInt = 4,
        max_new_tokens: PositiveInt | None = None,
        stop: tuple[str, ...] = (),
        date: str = DATE,
        device: str = "auto",
        dtype: Dtype = "auto",
        device_map: str | None = None,
        four_bit: bool = False,
    ) -> None:
        if json_schema:
            check_installed()
        super().__init__(
            VisionModel(
                Weights(model, revision, device, dtype, device_map, four_bit),
                batch_size=batch_size,
                max_new_tokens=longest(max_new_tokens, references),
                stop=stop,
                date=date,
                schema=answer_schema(references) if json_schema else None,
            ),
            prompt,
            draft=draft,
            references=references,
            both_orders=both_orders,
            most_rejected=most_rejected,
            images=True,
        )


class OpenAi(ChatWriter):
    """Any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one.

    Args:
        model: Its name at the endpoint.
        url: The address up to and including `/v1`.
        key_variable: The environment variable that holds the key; a local server needs none.
        images: Send both images too.
        prompt: As of `llm`; by default `examples`, or `images` where images are sent.
        draft: As of `llm`.
        references: Sentences per pair.
        both_orders: Ask about the reversed pair too, and reject answers that contradict each other.
        json_schema: Send the JSON schema of the answer as `response_format`; switch it off for servers that reject it.
        most_rejected: Give up if a larger share of the first pairs is rejected; 1 never gives up.
        concurrency: Requests at a time.
        requests_per_minute: Most requests per minute; null for no limit.
        timeout: Seconds that an answer may take.
        retries: How often a failed request is sent again.
        max_new_tokens: Most tokens of an answer; by default what `references` sentences need.
        stop: Texts that end an answer; most servers take at most four.
        temperature: 0 for the likeliest answer.
        seed: Sent along.
        price_in: Cost of a million tokens read.
        price_out: Cost of a million tokens written.

    Raises:
        ValueError: The prompt cannot be used.
    """

    def __init__(
        self,
        *,
        model: str,
        url: str = "http://127.0.0.1:8000/v1",
        key_variable: str = "OPENAI_API_KEY",
        images: bool = False,
        prompt: Path | None = None,
        draft: Draft = None,
        references: References = 1,
        both_orders: bool = False,
        json_schema: bool = True,
        most_rejected: Share = 0.95,
        concurrency: PositiveInt = 8,
        requests_per_minute: PositiveFloat | None = None,
        timeout: PositiveFloat = 120.0,
        retries: NonNegativeInt = 6,
        max_new_tokens: PositiveInt | None = None,
        stop: tuple[str, ...] = (),
        temperature: NonNegativeFloat = 0.0,
        seed: int = 0,
        price_in: NonNegativeFloat = 0.0,
        price_out: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(
            Endpoint(
                model=model,
                url=url,
                key_variable=key_variable,
                concurrency=concurrency,
                requests_per_minute=requests_per_minute,
                timeout=timeout,
                retries=retries,
                max_new_tokens=longest(max_new_tokens, references),
                stop=stop,
                temperature=temperature,
                seed=seed,
                schema=answer_schema(references) if json_schema else None,
                prices=(price_in, price_out),
            ),
            prompt or Path("images" if images else "examples"),
            draft=draft,
            references=references,
            both_orders=both_orders,
            most_rejected=most_rejected,
            images=images,
        )
