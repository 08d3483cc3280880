"""DUDA's dynamic speaker: attends to the before, difference and after slot at every word."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Decoded, Decoder, Rate, State, TokenSpace


class DynamicSpeaker(Decoder):
    """Decodes with two LSTMs: at each word, the first weights the three memory slots and the second predicts the word.

    The memory has three slots, as from the fusion `duda`: before, difference, after. The first LSTM reads a projection
    of all three and the state of the second LSTM; from its state the weights of the slots are computed. The second LSTM
    reads the word and the weighted sum of the slots. The returned attention consists of these weights.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, equations 7 to 12. Differs from the published
    code: every position is predicted, whereas the code stops once all captions of a batch have ended and leaves
    log-probabilities of zero (probability 1) in the remaining positions.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions.
        dim: Width of the states of both LSTMs.
        embed_dim: Width of the projection of the three slots.
        word_dim: Width of word embeddings.
        dropout: Dropout rate on the projection, on the words, and before the output layer.
    """

    slots: ClassVar[int | None] = 3

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        dim: PositiveInt = 256,
        embed_dim: PositiveInt = 256,
        word_dim: PositiveInt = 256,
        dropout: Rate = 0.1,
    ) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = dim
        self.embedding = nn.Embedding(vocab.size, word_dim)
        self.embed = nn.Linear(3 * memory_dim, embed_dim)
        self.attending = nn.LSTMCell(embed_dim + dim, dim)
        self.weigh = nn.Linear(dim, 3)
        self.speaking = nn.LSTMCell(word_dim + memory_dim, dim)
        self.output = nn.Linear(dim, vocab.size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        state, words, read = self.start(memory), self._words(tokens), []
        for word in words.unbind(1):
            state, weights = self._read(state, word)
            read.append((state["speaking"], weights))
        hidden, weights = (torch.stack(values, dim=1) for values in zip(*read, strict=True))
        states = self.dropout(hidden)
        return Decoded(self.output(states), states, weights)

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Project the slots, once per caption; the states of both LSTMs start at zero.

        Raises:
            ValueError: The memory does not have three slots.
        """
        if memory.shape[1] != self.slots:
            raise ValueError(
                f"decoder 'dynamic-speaker' needs 3 memory slots (before, difference, after), but this fusion has "
                f"{memory.shape[1]}; set fusion: duda, or choose another decoder"
            )
        embedded = self.dropout(self.embed(memory.flatten(1)).relu())
        zeros = memory.new_zeros(len(memory), self.state_dim)
        states = dict.fromkeys(("attending", "attending_cell", "speaking", "speaking_cell"), zeros)
        return {"memory": memory, "embedded": embedded, **states}

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token."""
        state, _ = self._read(state, self._words(token))
        return self.output(self.dropout(state["speaking"])), state

    def _words(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.embedding(tokens).relu())

    def _read(self, state: State, word: Tensor) -> tuple[State, Tensor]:
        seen = torch.cat([state["embedded"], state["speaking"]], dim=1)
        attending, attending_cell = self.attending(seen, (state["attending"], state["attending_cell"]))
        weights = self.weigh(attending).softmax(1)
        context = torch.bmm(weights[:, None], state["memory"]).squeeze(1)
        heard = torch.cat([word, context], dim=1)
        speaking, speaking_cell = self.speaking(heard, (state["speaking"], state["speaking_cell"]))
        renewed = {"attending": attending, "attending_cell": attending_cell}
        return {**state, **renewed, "speaking": speaking, "speaking_cell": speaking_cell}, weights
