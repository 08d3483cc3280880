"""A causal language model as the decoder: it goes on from the memory as if it were the beginning of a text."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from idc_models.architecture import Architecture, library
from idc_models.contract import Decoded, Rate, State, TokenSpace
from idc_models.decoders.language_model import LanguageModel, Tune, memory_bound


class PrefixLm(LanguageModel):
    """Decodes with any causal language model of transformers, whose prefix is the projected memory.

    Each memory slot becomes one vector of the width of the model's words, or all of them become `prefix` vectors by
    attention; then come the words of `prompt`, if there are any, and then the caption. Keys and values of the prefix
    are computed once a pair. Without a `model` it is a small Llama with random weights, all of which are trained.

    The tokens are those of the model: `data.tokenizer: {name: hf, model: ...}`. A checkpoint holds what is trained, and
    the name and the hashes of what is not. Models whose layers keep something else than keys and values, such as Mamba,
    are not supported. There is no attention to tell where the change is.

    Source: Mokady et al., ClipCap: CLIP Prefix for Image Captioning, 2021; LoRA: Hu et al., ICLR 2022. Differs from the
    paper: the memory is projected by two layers of its slots' own, as in LLaVA-1.5, not by one network over all of it.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens that it speaks.
        model: A folder of transformers, or an id of the hub.
        config: The architecture, as in its `config.json`; by default it is read there.
        tune: What is trained beside the projection: low-rank matrices (`lora`), nothing (`frozen`) or all (`full`).
        rank: Of the matrices of `lora`.
        alpha: Their product counts alpha / rank.
        dropout: Of their input.
        targets: Names of the layers that they stand beside; None: all linear layers but the output's.
        prefix: How many vectors the memory is condensed to; None keeps one for each slot.
        prompt: Text between the memory and the caption.

    Raises:
        ValueError: A library is missing, the model cannot be had, or its tokens are not those of the tokenizer.
    """

    of_memory = "seen_"
    _auto = "AutoModelForCausalLM"
    _small = {
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        model: str | None = None,
        config: Architecture = None,
        tune: Tune = "lora",
        rank: PositiveInt = 16,
        alpha: PositiveFloat = 32.0,
        dropout: Rate = 0.0,
        targets: tuple[str, ...] | None = None,
        prefix: PositiveInt | None = None,
        prompt: str = "",
    ) -> None:
        super().__init__(
            memory_dim,
            vocab,
            model=model,
            config=config,
            tune=tune,
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            targets=targets,
        )
        self.project = self.projection(memory_dim)
        self.condense = Condensed(self.state_dim, prefix) if prefix else nn.Identity()
        self.prompt = _tokens(vocab, prompt)

    def forward(self, memory: Float[Tensor, "b m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        read = self._read(self.start(memory), tokens)
        return Decoded(read.logits[..., : self.vocab.size], read.hidden_states[-1])

    def start(self, memory: Float[Tensor, "b m e"]) -> State:
        """Compute keys and values of the prefix."""
        words, cache = self.condense(self.project(memory)), library("transformers").DynamicCache()
        if self.prompt:
            ids = torch.tensor([self.prompt], device=memory.device)
            words = torch.cat([words, self.lm.get_input_embeddings()(ids).expand(len(words), -1, -1)], dim=1)
        self.lm.base_model(inputs_embeds=words, past_key_values=cache, use_cache=True)
        return _state(cache, "seen_")

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Read one token; the state grows by its keys and values."""
        read = self._read(state, token[:, None])
        return read.logits[:, -1, : self.vocab.size], _state(read.past_key_values)

    def _read(self, state: State, tokens: Int[Tensor, "n l"]) -> Any:
        start = "" if "keys0" in state else "seen_"
        layers = sum(name.startswith(f"{start}keys") for name in state)
        seen = [
            tuple(memory_bound(state[f"{start}{kind}{layer}"], len(tokens)) for kind in ("keys", "values"))
            for layer in range(layers)
        ]
        cache = library("transformers").DynamicCache(seen)
        return self.lm(input_ids=tokens, past_key_values=cache, use_cache=True, output_hidden_states=True)


class Condensed(nn.Module):
    """Attention of a few learnt queries, which makes a few vectors of many.

    Args:
        dim: Width of the vectors.
        num: How many come out.
    """

    def __init__(self, dim: int, num: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num, dim))
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, words: Float[Tensor, "b m d"]) -> Float[Tensor, "b k d"]:
        """Condense."""
        queries = self.queries.expand(len(words), -1, -1)
        return scaled_dot_product_attention(queries, self.key(words), self.value(words))


def _state(cache: Any, start: str = "") -> State:
    """Take keys and values out of a cache, by layer."""
    layers: Sequence[Any] = cache.layers
    return {f"{start}keys{number}": layer.keys for number, layer in enumerate(layers)} | {
        f"{start}values{number}": layer.values for number, layer in enumerate(layers)
    }


def _tokens(vocab: TokenSpace, text: str) -> list[int]:
    if not text:
        return []
    from idc_data.tokenizers import Tokenizer

    if not isinstance(vocab, Tokenizer):
        raise ValueError(f"prompt is {text!r}, but the tokenizer of type {type(vocab).__name__} encodes no text")
    return vocab.tokens(text)
