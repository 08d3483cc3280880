"""The LSTM decoder of MCCFormers, which reads the sum of the memory with every word."""

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Decoded, Decoder, Rate, State, TokenSpace


class SummedLstmDecoder(Decoder):
    """Decodes with an LSTM that reads each word together with the sum of all memory slots, without attention.

    Source: Qiu et al., Describing and Localizing Multiple Changes with Transformers, ICCV 2021, section 3.3. No known
    difference from the paper; states start at zero.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions.
        dim: Width of the state.
        word_dim: Width of word embeddings; None means that of the state.
        dropout: Dropout rate before the output layer.
    """

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        dim: PositiveInt = 256,
        word_dim: PositiveInt | None = None,
        dropout: Rate = 0.1,
    ) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = dim
        self.embedding = nn.Embedding(vocab.size, word_dim or dim)
        self.cell = nn.LSTMCell((word_dim or dim) + memory_dim, dim)
        self.output = nn.Linear(dim, vocab.size)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        state, hidden = self.start(memory), []
        for word in self.embedding(tokens).unbind(1):
            state = self._read(state, word)
            hidden.append(state["hidden"])
        states = self.dropout(torch.stack(hidden, dim=1))
        return Decoded(self.output(states), states)

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Sum the memory, once per caption."""
        zeros = memory.new_zeros(len(memory), self.state_dim)
        return {"sum": memory.sum(1), "hidden": zeros, "cell": zeros}

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token."""
        state = self._read(state, self.embedding(token))
        return self.output(self.dropout(state["hidden"])), state

    def _read(self, state: State, word: Tensor) -> State:
        hidden, cell = self.cell(torch.cat([word, state["sum"]], dim=1), (state["hidden"], state["cell"]))
        return {"sum": state["sum"], "hidden": hidden, "cell": cell}
