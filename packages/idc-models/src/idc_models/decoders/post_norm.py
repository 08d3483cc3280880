"""The Transformer decoder of MCCFormers, RSICCformer and Chg2Cap, with layer norms after the residuals."""

from typing import Any

from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.attention import Cache, StackedAttention, extend
from idc_models.contract import Decoded, Decoder, Rate, State, TokenSpace
from idc_models.positions import interleaved


class PostNormDecoder(Decoder):
    """Decodes with the original Transformer: layer norms follow the residuals, and there is no final norm.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017; used by Qiu et al. (MCCFormers, ICCV 2021), Liu et
    al. (RSICCformer, TGRS 2022) and Chang and Ghamisi (Chg2Cap, TIP 2023) with the memory's width. Differs from the
    first paper, as these methods do: embeddings are not scaled up. The returned attention is the mean over the heads of
    the last layer, in eval mode only.

    Args:
        memory_dim: Width of a memory slot; projected if it differs from `dim`.
        vocab: The tokens of the captions.
        dim: Width of the layers; None means that of the memory.
        layers: Number of layers.
        heads: Number of attention heads, a divisor of the width.
        dropout: Dropout rate on attention weights, after every sub-layer and before the output layer; published: 0.5.
        residual: Add the input of each layer to its output, as in Chg2Cap.

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
        layers: PositiveInt = 2,
        heads: PositiveInt = 4,
        dropout: Rate = 0.1,
        residual: bool = False,
    ) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = width = dim or memory_dim
        if width % heads:
            raise ValueError(
                f"decoder 'post-norm': its width is {width!r} and heads is {heads!r}; heads must divide it"
            )
        self.project = nn.Identity() if width == memory_dim else nn.Linear(memory_dim, width)
        self.embedding = nn.Embedding(vocab.size, width)
        self.layers = nn.ModuleList(PostNormLayer(width, heads, dropout, residual) for _ in range(layers))
        self.output = nn.Linear(width, vocab.size)
        self.place_dropout, self.dropout = nn.Dropout(0.1), nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, memory: Float[Tensor, "b m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        hidden, memory, attention = self._embed(tokens), self.project(memory), None
        for layer in self.layers:
            seen = layer.multihead_attn.cache(memory)
            hidden, heard, _ = layer(hidden, seen)
            if layer is self.layers[-1] and not self.training:
                attention = layer.multihead_attn.weights(heard, seen).mean(1)
        states = self.dropout(hidden)
        return Decoded(self.output(states), states, attention)

    def start(self, memory: Float[Tensor, "b m e"]) -> State:
        """Compute the keys and values of the memory, once per caption."""
        state, memory = {}, self.project(memory)
        for index, layer in enumerate(self.layers):
            state[f"seen_keys{index}"], state[f"seen_values{index}"] = layer.multihead_attn.cache(memory)
        return state

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token; its keys and values are added to the state."""
        length = state["keys0"].shape[2] if "keys0" in state else 0
        hidden, state = self._embed(token[:, None], past=length), dict(state)
        for index, layer in enumerate(self.layers):
            past = (state[f"keys{index}"], state[f"values{index}"]) if length else None
            seen = state[f"seen_keys{index}"], state[f"seen_values{index}"]
            hidden, _, (state[f"keys{index}"], state[f"values{index}"]) = layer(hidden, seen, past)
        return self.output(self.dropout(hidden[:, 0])), state

    def _embed(self, tokens: Tensor, past: int = 0) -> Tensor:
        embedded = self.embedding(tokens)
        places = interleaved(past + tokens.shape[1], self.state_dim, like=embedded)[past:]
        return self.place_dropout(embedded + places)


class PostNormLayer(nn.Module):
    """One layer, with the parameters of torch's `TransformerDecoderLayer`."""

    def __init__(self, dim: int, heads: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.self_attn = StackedAttention(dim, heads, dropout)
        self.multihead_attn = StackedAttention(dim, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Float[Tensor, "n l d"], seen: Cache, past: Cache | None = None
    ) -> tuple[Tensor, Tensor, Cache]:
        """Return the layer's output, the queries of the memory, and the keys and values of all tokens so far."""
        said = extend(past, self.self_attn.cache(hidden))
        heard = self.norm1(hidden + self.dropout(self.self_attn(hidden, said, causal=past is None)))
        looked = self.norm2(heard + self.dropout(self.multihead_attn(heard, seen)))
        fed = self.norm3(looked + self.dropout(self.linear2(self.dropout(self.linear1(looked).relu()))))
        return fed + hidden if self.residual else fed, heard, said
