"""Recurrent decoders with additive attention over the memory."""

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Decoded, Decoder, Rate, State, TokenSpace


class RecurrentDecoder(Decoder):
    """Reads the caption token by token and attends to the memory after each.

    Attention is additive (Bahdanau et al., ICLR 2015, section 3.1); its result is fed back with the next token (input
    feeding: Luong et al., EMNLP 2015, section 3.3). Differs from the papers: the query is the new state, not the
    previous one as in Bahdanau et al., and the first state is computed from the mean of the memory.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions.
        dim: Width of embeddings, state and attention.
        dropout: Dropout rate on the embeddings and before the output layer.
    """

    def __init__(self, memory_dim: int, vocab: TokenSpace, *, dim: PositiveInt = 256, dropout: Rate = 0.1) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = dim
        self.embedding = nn.Embedding(vocab.size, dim)
        self.initial = nn.Linear(memory_dim, dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(memory_dim, dim)
        self.score = nn.Linear(dim, 1, bias=False)
        self.combine = nn.Linear(2 * dim + memory_dim, dim)
        self.output = nn.Linear(dim, vocab.size)
        self.dropout = nn.Dropout(dropout)

    def recur(self, fed: Float[Tensor, "n fed"], state: State) -> State:
        """Return the state entries that the recurrent cell updates, including `hidden`."""
        raise NotImplementedError

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        embedded = self.dropout(self.embedding(tokens))
        state, read = self.start(memory), []
        for position in embedded.unbind(1):
            state, attention = self._read(state, position)
            read.append((state["hidden"], state["context"], attention))
        hidden, context, attention = (torch.stack(values, dim=1) for values in zip(*read, strict=True))
        states = self._states(hidden, context, embedded)
        return Decoded(self.output(states), states, attention)

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Compute the state before the first token, and the attention keys, once per caption."""
        hidden = self.initial(memory.mean(1)).tanh()
        return {"memory": memory, "keys": self.key(memory), "hidden": hidden, "context": torch.zeros_like(memory[:, 0])}

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token."""
        embedded = self.dropout(self.embedding(token))
        state, _ = self._read(state, embedded)
        return self.output(self._states(state["hidden"], state["context"], embedded)), state

    def _read(self, state: State, embedded: Tensor) -> tuple[State, Tensor]:
        renewed = self.recur(torch.cat([embedded, state["context"]], dim=1), state)
        query = self.query(renewed["hidden"])[:, None]
        attention = self.score((state["keys"] + query).tanh()).squeeze(2).softmax(1)
        context = torch.bmm(attention[:, None], state["memory"]).squeeze(1)
        return {**state, **renewed, "context": context}, attention

    def _states(self, hidden: Tensor, context: Tensor, embedded: Tensor) -> Tensor:
        return self.dropout(self.combine(torch.cat([hidden, context, embedded], dim=-1)).tanh())


class LstmDecoder(RecurrentDecoder):
    """Decodes with an LSTM that attends additively to the memory."""

    def __init__(self, memory_dim: int, vocab: TokenSpace, *, dim: PositiveInt = 256, dropout: Rate = 0.1) -> None:
        super().__init__(memory_dim, vocab, dim=dim, dropout=dropout)
        self.cell = nn.LSTMCell(dim + memory_dim, dim)

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Compute the state before the first token; the cell starts at zero."""
        state = super().start(memory)
        return {**state, "cell": torch.zeros_like(state["hidden"])}

    def recur(self, fed: Float[Tensor, "n fed"], state: State) -> State:
        """Update hidden state and cell."""
        hidden, cell = self.cell(fed, (state["hidden"], state["cell"]))
        return {"hidden": hidden, "cell": cell}


class GruDecoder(RecurrentDecoder):
    """Decodes with a GRU that attends additively to the memory."""

    def __init__(self, memory_dim: int, vocab: TokenSpace, *, dim: PositiveInt = 256, dropout: Rate = 0.1) -> None:
        super().__init__(memory_dim, vocab, dim=dim, dropout=dropout)
        self.cell = nn.GRUCell(dim + memory_dim, dim)

    def recur(self, fed: Float[Tensor, "n fed"], state: State) -> State:
        """Update the hidden state."""
        return {"hidden": self.cell(fed, state["hidden"])}
