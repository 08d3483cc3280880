"""DIRL's Transformer decoder: word embeddings narrower than its layers, layer norms after the residuals."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from idc_models.attention import Cache, StackedAttention, extend
from idc_models.contract import Decoded, Rate, TokenSpace
from idc_models.decoders.lean_transformer import LeanTransformerDecoder


class DirlDecoder(LeanTransformerDecoder):
    """Decodes with a Transformer whose word embeddings are narrower than its layers; layer norms follow the residuals.

    Extras, `n l d`: `words`, the output of the last layer's self-attention, and `read`, the output of its
    cross-attention, both after residual and norm. The returned attention is the mean over the heads, in eval mode only.

    Source: Tu et al., Distractors-Immune Representation Learning with Cross-modal Contrastive Regularization for Change
    Captioning, ECCV 2024. No known difference from its text.

    Args:
        memory_dim: Width of a memory slot; projected if it differs from `dim`.
        vocab: The tokens of the captions.
        dim: Width of the layers; None means that of the memory; published: 512.
        word_dim: Width of word embeddings; published: 300.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of the width; published: 8.
        dropout: Dropout rate on attention weights and after every sub-layer; published: 0.1.
        norm: Use the variant for CLEVR-DC, with a layer norm after the projection of words and Xavier initialisation,
            instead of the one for CLEVR-Change.
        unspoken: Ids of tokens that are never generated, such as the unknown word.

    Raises:
        ValueError: `heads` does not divide the width.
    """

    layers: Any  # a ModuleList, which type checkers cannot look into

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
        norm: bool = False,
        unspoken: Sequence[NonNegativeInt] = (),
    ) -> None:
        super().__init__(
            memory_dim, vocab, dim=dim, word_dim=word_dim, layers=1, heads=heads, dropout=dropout, unspoken=unspoken
        )
        width = self.state_dim
        self.layers = nn.ModuleList(DirlLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        for part in (self.source, self.project, self.embedding, self.output):
            if not isinstance(part, nn.Identity):
                part.reset_parameters()
        if norm:
            for weights in self.parameters():
                if weights.ndim > 1:
                    nn.init.xavier_uniform_(weights)

    def forward(self, memory: Float[Tensor, "b m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        hidden, memory, words, read, attention = self.embed(tokens), self.source(memory), None, None, None
        mask = self._mask(tokens, hidden)
        for layer in self.layers:
            seen = layer.cross_attention.cache(memory)
            words, _ = layer.listen(hidden, mask)
            read = layer.look(words, seen)
            if layer is self.layers[-1] and not self.training:
                attention = layer.cross_attention.weights(words, seen).mean(1)
            hidden = layer.feed(read)
        assert words is not None and read is not None
        return Decoded(self.output(hidden), hidden, attention, {"words": words, "read": read})


class DirlLayer(nn.Module):
    """Self-attention, cross-attention and a feed-forward network, four times as wide, each with residual and norm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = (StackedAttention(dim, heads, dropout) for _ in range(2))
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Float[Tensor, "n l d"], seen: Cache, mask: Tensor, past: Cache | None = None
    ) -> tuple[Tensor, None, Cache]:
        """Return the layer's output, and the keys and values of all tokens so far."""
        words, said = self.listen(hidden, mask, past)
        return self.feed(self.look(words, seen)), None, said

    def listen(self, hidden: Tensor, mask: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Apply self-attention; also return the keys and values of all tokens so far."""
        said = extend(past, self.self_attention.cache(hidden))
        return self.norm1(hidden + self.dropout(self.self_attention(hidden, said, mask=mask))), said

    def look(self, words: Tensor, seen: Cache) -> Tensor:
        """Apply cross-attention to the memory."""
        return self.norm2(words + self.dropout(self.cross_attention(words, seen)))

    def feed(self, hidden: Tensor) -> Tensor:
        """Apply the feed-forward network."""
        fed = self.linear2(self.dropout(self.linear1(hidden).relu()))
        return self.norm3(hidden + self.dropout(fed))
