"""A plugin of each kind with random input to run it on and something to learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from idc_models.contract import Decoded, Decoder, Fused, Fusion, Outputs, Widths
from idc_models.registry import find

BATCH, SLOTS, GRID, SIDE = 4, 6, (4, 5), 64

WIDTHS = Widths(visual=12, memory=16, state=20)
"""All different: a part that takes one for another does not fit."""


@dataclass(frozen=True)
class Vocabulary:
    """A small token space: padding, bos, eos, unknown and eight words."""

    size: int = 12
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    max_length: int = 8

    def decode(self, ids: Sequence[int]) -> str:
        """Spell a caption of numbered words, up to the first eos."""
        ids = list(ids)
        ended = ids.index(self.eos_id) if self.eos_id in ids else len(ids)
        return " ".join(f"word{number}" for number in ids[:ended] if number not in (self.pad_id, self.bos_id))


VOCAB = Vocabulary()
TOKENS = ((1, 4, 5, 6, 7, 2), (1, 8, 9, 2, 0, 0), (1, 10, 4, 11, 2, 0), (1, 5, 2, 0, 0, 0))
LENGTHS = (6, 4, 5, 3)
PAIR = (0, 0, 1, 2)


class Subject:
    """A plugin under test, with its settings."""

    wired: tuple[Any, ...] = ()
    """The positional arguments of its constructor."""

    def __init__(self, plugin: type[nn.Module], settings: dict[str, Any]) -> None:
        self.plugin, self.settings = plugin, settings

    def build(self) -> Any:
        """Construct the plugin."""
        return self.plugin(*self.wired, **self.settings)

    def run(self, module: Any, inputs: tuple[Any, ...]) -> Any:
        """Run the plugin as a model does."""
        return module(*inputs)

    def inputs(self) -> tuple[Any, ...]:
        """Give what the plugin is run on, a batch of random values."""
        raise NotImplementedError

    def first(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give a batch of one, the first row of these."""
        return tuple(value[:1] for value in inputs)

    def tensors(self, output: Any) -> list[Tensor]:
        """Give the tensors of an output, the batch first in each of them, its rows independent of each other."""
        raise NotImplementedError

    def extras(self, output: Any) -> dict[str, Tensor]:
        """Give the named tensors of an output, the batch first in each of them."""
        return {}

    def loss(self, output: Any) -> Tensor:
        """Give something to minimise: a fixed random probe has to tell the rows of the batch apart."""
        features = self.tensors(output)[0].flatten(1, -2).mean(1)
        probe = torch.randn(features.shape[1], BATCH, generator=torch.Generator().manual_seed(0))
        return cross_entropy(features @ probe, torch.arange(BATCH)[: len(features)])

    def signal(self, output: Any) -> Tensor:
        """Give a scalar that everything which may be trained has a part in, extras included."""
        extras = [extra.float().square().mean() for extra in self.extras(output).values()]
        return torch.stack([self.loss(output), *extras]).sum()

    def leaves(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Give the tensors of the input that may be trained along."""
        return []


class EncoderSubject(Subject):
    """An encoder, on pairs of images of 64 px, or on features of the shape that it says."""

    shape: tuple[int, ...] = (3, SIDE, SIDE)

    def build(self) -> Any:
        """Construct the encoder, and note what it takes."""
        encoder = super().build()
        self.shape = encoder.features or self.shape
        return encoder

    def inputs(self) -> tuple[Any, ...]:
        """Give before and after."""
        return torch.rand(BATCH, *self.shape), torch.rand(BATCH, *self.shape)

    def run(self, module: Any, inputs: tuple[Any, ...]) -> Any:
        """Encode both sides."""
        return module.pair(*inputs)

    def tensors(self, output: Any) -> list[Tensor]:
        """Give both grids."""
        return list(output)


class FusionSubject(Subject):
    """A fusion, on grids of 4 x 5 cells."""

    wired = (WIDTHS.visual,)

    def inputs(self) -> tuple[Any, ...]:
        """Give a before and an after grid."""
        return torch.randn(BATCH, *GRID, WIDTHS.visual), torch.randn(BATCH, *GRID, WIDTHS.visual)

    def tensors(self, output: Any) -> list[Tensor]:
        """Give the memory, and the change map if there is one."""
        return [output.memory] + ([] if output.change_map is None else [output.change_map])

    def extras(self, output: Any) -> dict[str, Tensor]:
        """Give the fusion's extras, whose rows may depend on the batch."""
        return output.extras


class DecoderSubject(Subject):
    """A decoder, on random memory and four captions."""

    wired = (WIDTHS.memory, VOCAB)

    @property
    def slots(self) -> int:
        """How many slots the memory has: as many as the decoder asks for."""
        return getattr(self.plugin, "slots", None) or SLOTS

    def inputs(self) -> tuple[Any, ...]:
        """Give a memory, and captions without their last token."""
        return torch.randn(BATCH, self.slots, WIDTHS.memory), torch.tensor(TOKENS)[:, :-1]

    def tensors(self, output: Any) -> list[Tensor]:
        """Give logits, states, and attention if there is one."""
        return [output.logits, output.states] + ([] if output.attention is None else [output.attention])

    def extras(self, output: Any) -> dict[str, Tensor]:
        """Give the decoder's extras."""
        return output.extras

    def loss(self, output: Any) -> Tensor:
        """Give the cross-entropy of the captions."""
        targets = torch.tensor(TOKENS)[: len(output.logits), 1:].flatten()
        return cross_entropy(output.logits.flatten(0, 1), targets, ignore_index=VOCAB.pad_id)


class ObjectiveSubject(Subject):
    """An objective, on a memory that it is free to move, and a small decoder to move along.

    Args:
        plugin: the objective.
        settings: of it.
        fusion: what makes the memory, for an objective that asks for its extras; None is a memory and a change map
            without any.
    """

    def __init__(self, plugin: type[nn.Module], settings: dict[str, Any], fusion: type[Fusion] | None = None) -> None:
        super().__init__(plugin, settings)
        self.fusion = fusion(WIDTHS.visual) if fusion else None
        memory = self.fusion.memory_dim if self.fusion else WIDTHS.memory
        speaker = getattr(plugin, "decoder", None)
        self.decoder: Any = find("decoder", speaker)(memory, VOCAB) if speaker else Speaker(memory, VOCAB)
        self.wired = (Widths(WIDTHS.visual, memory, self.decoder.state_dim), VOCAB)

    def inputs(self) -> tuple[Any, ...]:
        """Give what the outputs for four captions of three pairs are made of."""
        if self.fusion:
            seen = torch.randn(2, 3, *GRID, WIDTHS.visual).unbind()
        else:
            seen = torch.randn(3, SLOTS, WIDTHS.memory).requires_grad_(), torch.rand(3, *GRID).requires_grad_()
        return *seen, torch.tensor(TOKENS), torch.tensor(LENGTHS), torch.tensor(PAIR)

    def first(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give one caption of one pair."""
        *seen, tokens, lengths, pair = inputs
        return *(value[:1] for value in seen), tokens[1:2, : lengths[1]], lengths[1:2], pair[1:2]

    def run(self, module: Any, inputs: tuple[Any, ...]) -> Any:
        """Fuse, and compute the loss."""
        first, second, tokens, lengths, pair = inputs
        num = len(first)
        fused = self.fusion(first, second) if self.fusion else Fused(first, second, GRID)
        captions = [[VOCAB.decode(row) for row in tokens[pair == index].tolist()] for index in range(num)]
        same = torch.eye(num, dtype=torch.bool)
        return module(Outputs(fused, self.decoder, tokens, lengths, pair, same, captions, same))

    def tensors(self, output: Any) -> list[Tensor]:
        """Give the loss."""
        return [output]

    def loss(self, output: Any) -> Tensor:
        """Give the loss itself."""
        return output

    def leaves(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Give memory and change map, or the fusion's parameters, and those of the decoder."""
        modules = [self.decoder] + ([self.fusion] if self.fusion else [])
        seen = [value for value in inputs if value.requires_grad]
        return seen + [parameter for module in modules for parameter in module.parameters()]


class Speaker(Decoder):
    """A very small decoder that says something of the memory and of the words so far."""

    def __init__(self, memory_dim: int, vocab: Vocabulary) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = WIDTHS.state
        self.seen = nn.Linear(memory_dim, WIDTHS.state)
        self.embedding = nn.Embedding(vocab.size, WIDTHS.state)
        self.query = nn.Linear(WIDTHS.state, memory_dim)
        self.output = nn.Linear(WIDTHS.state, vocab.size)

    def forward(self, memory: Tensor, tokens: Tensor) -> Decoded:
        """Predict each token from the one before and what it attends to of the memory."""
        words = self.embedding(tokens)
        attention = (self.query(words) @ memory.transpose(1, 2)).softmax(2)
        states = 1 + words + self.seen(attention @ memory)
        return Decoded(self.output(states), states, attention)
