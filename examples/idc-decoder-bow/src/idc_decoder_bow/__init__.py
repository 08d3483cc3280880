"""A decoder without word order: the mean of the memory and the mean of the words so far."""

import torch
from idc_models.contract import Decoded, Decoder, Rate, TokenSpace
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn


class BagOfMemoryDecoder(Decoder):
    """Decodes from the mean of the memory, the bag of words so far, and the last word."""

    def __init__(self, memory_dim: int, vocab: TokenSpace, *, dim: PositiveInt = 256, dropout: Rate = 0.1) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = dim
        self.embedding = nn.Embedding(vocab.size, dim)
        self.seen = nn.Linear(memory_dim, dim)
        self.mix = nn.Sequential(nn.Linear(3 * dim, dim), nn.GELU(), nn.Dropout(dropout))
        self.output = nn.Linear(dim, vocab.size)

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position; the running mean is causal."""
        words = self.embedding(tokens)
        said = words.cumsum(1) / torch.arange(1, words.shape[1] + 1, device=words.device)[:, None]
        seen = self.seen(memory.mean(1))[:, None].expand_as(words)
        states = self.mix(torch.cat([words, said, seen], dim=2))
        return Decoded(self.output(states), states)
