"""A Transformer decoder with key and value caches."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from idc_models.contract import Decoded, Decoder, Rate, State, TokenSpace
from idc_models.positions import sinusoids

#: Keys and values, each `n heads slots width`.
Cache = tuple[Tensor, Tensor]


class TransformerDecoder(Decoder):
    """Decodes with a Transformer: causal self-attention over the caption, cross-attention to the memory.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017. Differs from the paper: layer norms come before
    each sub-layer and once at the end, which trains without a long warm-up (Xiong et al., ICML 2020); GELU replaces
    ReLU; and embeddings are not scaled up, so that words do not outweigh the memory at first. The returned attention is
    the mean over the heads of the last layer, in eval mode only, because it costs time.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions.
        dim: Width of embeddings and layers.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of `dim`.
        dropout: Dropout rate on embeddings and after every sub-layer.
        tied: Share the embedding matrix with the output layer.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    layers: Any  # a ModuleList of Layer, which type checkers cannot look into

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        dim: PositiveInt = 256,
        layers: PositiveInt = 2,
        heads: PositiveInt = 4,
        dropout: Rate = 0.1,
        tied: bool = False,
    ) -> None:
        super().__init__(memory_dim, vocab)
        if dim % heads:
            raise ValueError(f"decoder 'transformer': dim is {dim!r} and heads is {heads!r}; heads must divide dim")
        self.state_dim = dim
        self.embedding = nn.Embedding(vocab.size, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)  # also the right scale for a tied output layer
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(dim, memory_dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, vocab.size)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        hidden, attention = self._embed(tokens, past=0), None
        for layer in self.layers:
            cross = layer.cross_attention.cache(memory)
            if layer is self.layers[-1] and not self.training:
                attention = layer.attention(hidden, cross)
            hidden, _ = layer(hidden, cross)
        states = self.norm(hidden)
        return Decoded(self.output(states), states, attention)

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Compute the keys and values of the memory, once per caption."""
        state = {}
        for index, layer in enumerate(self.layers):
            state[f"cross_keys{index}"], state[f"cross_values{index}"] = layer.cross_attention.cache(memory)
        return state

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token; its keys and values are added to the state."""
        length = state["keys0"].shape[2] if "keys0" in state else 0
        hidden, state = self._embed(token[:, None], past=length), dict(state)
        for index, layer in enumerate(self.layers):
            past = (state[f"keys{index}"], state[f"values{index}"]) if length else None
            cross = state[f"cross_keys{index}"], state[f"cross_values{index}"]
            hidden, (state[f"keys{index}"], state[f"values{index}"]) = layer(hidden, cross, past)
        return self.output(self.norm(hidden[:, 0])), state

    def _embed(self, tokens: Tensor, past: int) -> Tensor:
        embedded = self.embedding(tokens)
        dim = embedded.shape[-1]
        positions = sinusoids(past + tokens.shape[1], dim, like=embedded)[past:]
        return self.dropout(embedded + positions * dim**-0.5)


class Layer(nn.Module):
    """Self-attention, cross-attention and a feed-forward network, four times as wide."""

    def __init__(self, dim: int, memory_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attention = Attention(dim, dim, heads)
        self.cross_attention = Attention(dim, memory_dim, heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Float[Tensor, "n l d"], cross: Cache, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Return the layer's output and the keys and values of all tokens; with a past, `hidden` is one token."""
        hidden, seen = self._listen(hidden, past)
        hidden = hidden + self.dropout(self.cross_attention(self.cross_norm(hidden), cross))
        return hidden + self.dropout(self.feed_forward(self.feed_norm(hidden))), seen

    def attention(self, hidden: Float[Tensor, "n l d"], cross: Cache) -> Float[Tensor, "n l m"]:
        """Compute the attention of every position to the memory slots, averaged over the heads."""
        hidden, _ = self._listen(hidden)
        return self.cross_attention.weights(self.cross_norm(hidden), cross).mean(1)

    def _listen(self, hidden: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        normed = self.self_norm(hidden)
        keys, values = self.self_attention.cache(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        attended = self.self_attention(normed, (keys, values), causal=past is None)
        return hidden + self.dropout(attended), (keys, values)


class Attention(nn.Module):
    """Multi-head attention whose keys and values are computed separately, so that they can be cached."""

    def __init__(self, dim: int, source_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(source_dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def cache(self, source: Float[Tensor, "n m e"]) -> Cache:
        """Compute the keys and values of the sequence to attend to."""
        keys, values = self.key_value(source).chunk(2, dim=2)
        return self._split(keys), self._split(values)

    def forward(self, hidden: Float[Tensor, "n l d"], cache: Cache, *, causal: bool = False) -> Float[Tensor, "n l d"]:
        """Attend to cached keys and values."""
        read = scaled_dot_product_attention(self._split(self.query(hidden)), *cache, is_causal=causal)
        return self.output(read.transpose(1, 2).flatten(2))

    def weights(self, hidden: Float[Tensor, "n l d"], cache: Cache) -> Float[Tensor, "n heads l m"]:
        """Compute the attention weights, which the fused kernel does not return."""
        query, (keys, _) = self._split(self.query(hidden)), cache
        return (query @ keys.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)

    def _split(self, wide: Tensor) -> Tensor:
        return wide.unflatten(2, (self.heads, -1)).transpose(1, 2)
