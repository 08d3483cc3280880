"""The Transformer decoder of SCORER, NCT and CARD: no output projection of attention, narrow word embeddings."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu

from idc_models.attention import Cache, extend, share
from idc_models.contract import Decoded, Decoder, Rate, State, TokenSpace
from idc_models.positions import interleaved

_MASKED = -10_000.0
"""Added to the attention score of a masked position."""


class LeanTransformerDecoder(Decoder):
    """Decodes with a Transformer without output projection of attention, whose word embeddings are narrow.

    Position encodings are added to the words before the projection to the layers' width. The residual of the
    feed-forward network skips its second half only. The returned attention is the softmax of the last layer's scores,
    averaged over the heads, in eval mode only; the scores themselves are the extra `attention_scores`.

    Source: the decoder of Tu et al., Self-supervised Cross-view Representation Reconstruction for Change Captioning,
    ICCV 2023 (SCORER), and of their NCT and CARD. Differs from the paper, which describes a plain Transformer decoder:
    this follows the authors' code, including a padding embedding that is not trained.

    Args:
        memory_dim: Width of a memory slot; projected if it differs from `dim`.
        vocab: The tokens of the captions.
        dim: Width of the layers; None means that of the memory; published: 512.
        word_dim: Width of word embeddings; published: 300.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of the width; published: 8.
        dropout: Dropout rate on attention weights, after the projection and after the feed-forward network; published:
            0.1.
        unspoken: Ids of tokens that are never generated, such as the unknown word.

    Raises:
        ValueError: `heads` does not divide the width.
    """

    layers: Any  # a ModuleList, which type checkers cannot look into
    of_memory = "seen_"

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        dim: PositiveInt | None = None,
        word_dim: PositiveInt = 300,
        layers: PositiveInt = 2,
        heads: PositiveInt = 8,
        dropout: Rate = 0.1,
        unspoken: Sequence[NonNegativeInt] = (),
    ) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = width = dim or memory_dim
        if width % heads:
            raise ValueError(
                f"decoder 'lean-transformer': its width is {width!r} and heads is {heads!r}; heads must divide it"
            )
        self.unspoken = list(unspoken)
        self.source = nn.Identity() if width == memory_dim else nn.Linear(memory_dim, width)
        self.embedding = nn.Embedding(vocab.size, word_dim, padding_idx=vocab.pad_id)
        self.project, self.norm = nn.Linear(word_dim, width), nn.LayerNorm(width, eps=1e-6)
        self.layers = nn.ModuleList(LeanLayer(width, heads, dropout) for _ in range(layers))
        self.output = nn.Linear(width, vocab.size)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, memory: Float[Tensor, "b m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        hidden, memory, scores = self.embed(tokens), self.source(memory), None
        mask = self._mask(tokens, hidden)
        for layer in self.layers:
            hidden, scores, _ = layer(hidden, layer.cross_attention.cache(memory), mask)
        attention, extras = None, {}
        if not self.training and scores is not None:
            extras = {"attention_scores": scores.mean(1).view(*tokens.shape, -1)}
            attention = extras["attention_scores"].softmax(2)
        return Decoded(self.output(hidden), hidden, attention, extras)

    def start(self, memory: Float[Tensor, "b m e"]) -> State:
        """Compute the keys and values of the memory, once per caption."""
        state, memory = {}, self.source(memory)
        for index, layer in enumerate(self.layers):
            state[f"seen_keys{index}"], state[f"seen_values{index}"] = layer.cross_attention.cache(memory)
        return state

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token; its keys and values are added to the state."""
        length = state["keys0"].shape[2] if "keys0" in state else 0
        hidden, state = self.embed(token[:, None], past=length), dict(state)
        padding = self._padding(token[:, None])
        state["padding"] = torch.cat([state["padding"], padding], dim=1) if length else padding
        mask = state["padding"].to(hidden.dtype)[:, None, None] * _MASKED
        for index, layer in enumerate(self.layers):
            past = (state[f"keys{index}"], state[f"values{index}"]) if length else None
            seen = state[f"seen_keys{index}"], state[f"seen_values{index}"]
            hidden, _, (state[f"keys{index}"], state[f"values{index}"]) = layer(hidden, seen, mask, past)
        logits = self.output(hidden[:, 0])
        if self.unspoken:
            logits[:, self.unspoken] = -torch.inf
        return logits, state

    def _mask(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Return the mask of later tokens and padding, to be added to the scores: n 1 l l."""
        length = tokens.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        return (later | self._padding(tokens)[:, None]).to(like.dtype)[:, None] * _MASKED

    def _padding(self, tokens: Tensor) -> Tensor:
        """Return True for padding, unless the padding token is also bos or eos."""
        pad = self.vocab.pad_id
        alone = pad not in (self.vocab.bos_id, self.vocab.eos_id)
        return tokens == pad if alone else torch.zeros_like(tokens, dtype=torch.bool)

    def embed(self, tokens: Tensor, past: int = 0) -> Tensor:
        """Embed tokens that follow `past` others, with position encodings."""
        embedded = self.embedding(tokens)
        places = interleaved(past + tokens.shape[1], embedded.shape[-1], like=embedded)[past:]
        return self.norm(self.dropout(self.project(embedded + places)))


class LeanLayer(nn.Module):
    """Self-attention, cross-attention and a feed-forward network as wide as the layer, each with a norm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = (
            LeanAttention(dim, heads, dropout),
            LeanAttention(dim, heads, dropout),
        )
        self.linear1, self.linear2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Float[Tensor, "n l d"], seen: Cache, mask: Tensor | None, past: Cache | None = None
    ) -> tuple[Tensor, Tensor, Cache]:
        """Return the layer's output, the scores of the memory, and the keys and values of all tokens so far."""
        said = extend(past, self.self_attention.cache(hidden))
        hidden = self.norm1(hidden + self.self_attention(hidden, said, mask)[0])
        read, scores = self.cross_attention(hidden, seen)
        inner = gelu(self.linear1(self.norm2(hidden + read)))
        return self.norm3(self.dropout(self.linear2(inner)) + inner), scores, said


class LeanAttention(nn.Module):
    """Multi-head attention without an output projection."""

    def __init__(self, dim: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def cache(self, source: Float[Tensor, "n m d"]) -> Cache:
        """Compute the keys and values of the sequence to attend to."""
        return self._split(self.key(source)), self._split(self.value(source))

    def forward(
        self, hidden: Float[Tensor, "n l d"], cache: Cache, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the attended values and the scores before the softmax; rows of the cache are shared, see `share`."""
        queries, (keys, values) = self._split(self.query(share(hidden, cache))), cache
        scores = queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5
        if mask is not None:
            scores = scores + mask
        read = dropout(scores.softmax(3), self.rate, self.training) @ values
        return read.transpose(1, 2).flatten(2).view_as(hidden), scores

    def _split(self, wide: Tensor) -> Tensor:
        return wide.unflatten(2, (self.heads, -1)).transpose(1, 2)
