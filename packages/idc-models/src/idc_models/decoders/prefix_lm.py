"""A causal language model as the decoder, which continues the memory as if it were the beginning of a text."""

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

    Each memory slot becomes one vector of the width of the model's word embeddings, or attention condenses all slots to
    `prefix` vectors. The words of `prompt`, if any, and the caption follow. The keys and values of the prefix are
    computed once per pair. Without a `model`, a small Llama with random weights is trained in full.

    The tokenizer must be the model's: `data.tokenizer: {name: hf, model: ...}`. A checkpoint holds the trained weights,
    and the name and hashes of the others. Models whose layers cache something other than keys and values, such as
    Mamba, are not supported. The decoder returns no attention, so it cannot locate the change.

    Source: Mokady et al., ClipCap: CLIP Prefix for Image Captioning, 2021; LoRA: Hu et al., ICLR 2022. Differs from the
    paper: two layers project each slot separately, as in LLaVA-1.5, instead of one network over all slots.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions.
        model: A folder of transformers, or an id on the hub.
        config: The architecture, as in `config.json`; by default that of the model.
        tune: What is trained besides the projection: low-rank matrices (`lora`), nothing (`frozen`) or all (`full`).
        rank: Rank of the matrices of `lora`.
        alpha: Their product is scaled by alpha / rank.
        dropout: Dropout rate of their input.
        targets: Names of the layers to which they are added; None means all linear layers except the output layer.
        prefix: Number of vectors to which the memory is condensed; None keeps one per slot.
        prompt: Text between the memory and the caption.

    Raises:
        ValueError: A library is missing, the model cannot be loaded, or the tokenizer is not the model's.
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
        """Compute the keys and values of the prefix."""
        words, cache = self.condense(self.project(memory)), library("transformers").DynamicCache()
        if self.prompt:
            ids = torch.tensor([self.prompt], device=memory.device)
            words = torch.cat([words, self.lm.get_input_embeddings()(ids).expand(len(words), -1, -1)], dim=1)
        self.lm.base_model(inputs_embeds=words, past_key_values=cache, use_cache=True)
        return _state(cache, "seen_")

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token; its keys and values are added to the state."""
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
    """Attention from learned queries, which condenses many vectors to a few.

    Args:
        dim: Width of the vectors.
        num: Number of output vectors.
    """

    def __init__(self, dim: int, num: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num, dim))
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, words: Float[Tensor, "b m d"]) -> Float[Tensor, "b k d"]:
        """Condense the vectors."""
        queries = self.queries.expand(len(words), -1, -1)
        return scaled_dot_product_attention(queries, self.key(words), self.value(words))


def _state(cache: Any, start: str = "") -> State:
    """Return the keys and values of a cache, by layer."""
    layers: Sequence[Any] = cache.layers
    return {f"{start}keys{number}": layer.keys for number, layer in enumerate(layers)} | {
        f"{start}values{number}": layer.values for number, layer in enumerate(layers)
    }


def _tokens(vocab: TokenSpace, text: str) -> list[int]:
    if not text:
        return []
    from idc_data.tokenizers import Tokenizer

    if not isinstance(vocab, Tokenizer):
        raise ValueError(f"prompt is {text!r}, but the tokenizer of type {type(vocab).__name__} cannot encode text")
    return vocab.tokens(text)
