"""Test setups for each kind of plugin: random inputs and a loss to minimise."""

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
"""All different, so that a part that confuses them fails."""


@dataclass(frozen=True)
class Vocabulary:
    """A small token space: padding, bos, eos, unknown and eight words."""

    size: int = 12
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    max_length: int = 8

    def decode(self, ids: Sequence[int]) -> str:
        """Return numbered words up to the first eos."""
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
    """Positional arguments of its constructor."""

    def __init__(self, plugin: type[nn.Module], settings: dict[str, Any]) -> None:
        self.plugin, self.settings = plugin, settings

    def build(self) -> Any:
        """Construct the plugin."""
        return self.plugin(*self.wired, **self.settings)

    def run(self, module: Any, inputs: tuple[Any, ...]) -> Any:
        """Run the plugin as a model runs it."""
        return module(*inputs)

    def inputs(self) -> tuple[Any, ...]:
        """Return a batch of random inputs."""
        raise NotImplementedError

    def first(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the first row of the inputs, as a batch of one."""
        return tuple(value[:1] for value in inputs)

    def tensors(self, output: Any) -> list[Tensor]:
        """Return the tensors of an output, batch first, whose rows must be independent."""
        raise NotImplementedError

    def extras(self, output: Any) -> dict[str, Tensor]:
        """Return the named tensors of an output, batch first."""
        return {}

    def loss(self, output: Any) -> Tensor:
        """Return a loss: a fixed random probe must tell the rows of the batch apart."""
        features = self.tensors(output)[0].flatten(1, -2).mean(1)
        probe = torch.randn(features.shape[1], BATCH, generator=torch.Generator().manual_seed(0))
        return cross_entropy(features @ probe, torch.arange(BATCH)[: len(features)])

    def signal(self, output: Any) -> Tensor:
        """Return a scalar that depends on everything trainable, including extras."""
        extras = [extra.float().square().mean() for extra in self.extras(output).values()]
        return torch.stack([self.loss(output), *extras]).sum()

    def leaves(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Return the trainable tensors of the inputs."""
        return []


class EncoderSubject(Subject):
    """An encoder, on pairs of images of 64 px, or on features of the shape that it declares."""

    shape: tuple[int, ...] = (3, SIDE, SIDE)

    def build(self) -> Any:
        """Construct the encoder, and store the shape of its inputs."""
        encoder = super().build()
        self.shape = encoder.features or self.shape
        return encoder

    def inputs(self) -> tuple[Any, ...]:
        """Return before and after."""
        return torch.rand(BATCH, *self.shape), torch.rand(BATCH, *self.shape)

    def run(self, module: Any, inputs: tuple[Any, ...]) -> Any:
        """Encode both sides."""
        return module.pair(*inputs)

    def tensors(self, output: Any) -> list[Tensor]:
        """Return both grids."""
        return list(output)


class FusionSubject(Subject):
    """A fusion, on grids of 4 x 5 cells."""

    wired = (WIDTHS.visual,)

    def inputs(self) -> tuple[Any, ...]:
        """Return a before and an after grid."""
        return torch.randn(BATCH, *GRID, WIDTHS.visual), torch.randn(BATCH, *GRID, WIDTHS.visual)

    def tensors(self, output: Any) -> list[Tensor]:
        """Return the memory, and the change map if there is one."""
        return [output.memory] + ([] if output.change_map is None else [output.change_map])

    def extras(self, output: Any) -> dict[str, Tensor]:
        """Return the fusion's extras, whose rows may depend on the batch."""
        return output.extras


class DecoderSubject(Subject):
    """A decoder, on random memory and four captions."""

    wired = (WIDTHS.memory, VOCAB)

    @property
    def slots(self) -> int:
        """Number of memory slots that the decoder needs."""
        return getattr(self.plugin, "slots", None) or SLOTS

    def inputs(self) -> tuple[Any, ...]:
        """Return a memory, and captions without their last token."""
        return torch.randn(BATCH, self.slots, WIDTHS.memory), torch.tensor(TOKENS)[:, :-1]

    def tensors(self, output: Any) -> list[Tensor]:
        """Return logits, states, and attention if available."""
        return [output.logits, output.states] + ([] if output.attention is None else [output.attention])

    def extras(self, output: Any) -> dict[str, Tensor]:
        """Return the decoder's extras."""
        return output.extras

    def loss(self, output: Any) -> Tensor:
        """Return the cross-entropy of the captions."""
        targets = torch.tensor(TOKENS)[: len(output.logits), 1:].flatten()
        return cross_entropy(output.logits.flatten(0, 1), targets, ignore_index=VOCAB.pad_id)


class ObjectiveSubject(Subject):
    """An objective, on a trainable memory and with a small trainable decoder.

    Args:
        plugin: The objective.
        settings: Its settings.
        fusion: The fusion that provides the extras which the objective reads; None means a memory and a change map
            without extras.
    """

    def __init__(self, plugin: type[nn.Module], settings: dict[str, Any], fusion: type[Fusion] | None = None) -> None:
        super().__init__(plugin, settings)
        self.fusion = fusion(WIDTHS.visual) if fusion else None
        memory = self.fusion.memory_dim if self.fusion else WIDTHS.memory
        speaker = getattr(plugin, "decoder", None)
        self.decoder: Any = find("decoder", speaker)(memory, VOCAB) if speaker else Speaker(memory, VOCAB)
        self.wired = (Widths(WIDTHS.visual, memory, self.decoder.state_dim), VOCAB)

    def inputs(self) -> tuple[Any, ...]:
        """Return the inputs for four captions of three pairs."""
        if self.fusion:
            seen = torch.randn(2, 3, *GRID, WIDTHS.visual).unbind()
        else:
            seen = torch.randn(3, SLOTS, WIDTHS.memory).requires_grad_(), torch.rand(3, *GRID).requires_grad_()
        return *seen, torch.tensor(TOKENS), torch.tensor(LENGTHS), torch.tensor(PAIR)

    def first(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return one caption of one pair."""
        *seen, tokens, lengths, pair = inputs
        return *(value[:1] for value in seen), tokens[1:2, : lengths[1]], lengths[1:2], pair[1:2]

    def run(self, module: Any, inputs: tuple[Any, ...]) -> Any:
        """Fuse the inputs and compute the loss."""
        first, second, tokens, lengths, pair = inputs
        num = len(first)
        fused = self.fusion(first, second) if self.fusion else Fused(first, second, GRID)
        captions = [[VOCAB.decode(row) for row in tokens[pair == index].tolist()] for index in range(num)]
        same = torch.eye(num, dtype=torch.bool)
        return module(Outputs(fused, self.decoder, tokens, lengths, pair, same, captions, same))

    def tensors(self, output: Any) -> list[Tensor]:
        """Return the loss."""
        return [output]

    def loss(self, output: Any) -> Tensor:
        """Return the loss itself."""
        return output

    def leaves(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Return memory and change map, or the fusion's parameters, and those of the decoder."""
        modules = [self.decoder] + ([self.fusion] if self.fusion else [])
        seen = [value for value in inputs if value.requires_grad]
        return seen + [parameter for module in modules for parameter in module.parameters()]


class Speaker(Decoder):
    """A very small decoder whose predictions depend on the memory and the previous token."""

    def __init__(self, memory_dim: int, vocab: Vocabulary) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = WIDTHS.state
        self.seen = nn.Linear(memory_dim, WIDTHS.state)
        self.embedding = nn.Embedding(vocab.size, WIDTHS.state)
        self.query = nn.Linear(WIDTHS.state, memory_dim)
        self.output = nn.Linear(WIDTHS.state, vocab.size)

    def forward(self, memory: Tensor, tokens: Tensor) -> Decoded:
        """Predict each token from the previous one and its attention to the memory."""
        words = self.embedding(tokens)
        attention = (self.query(words) @ memory.transpose(1, 2)).softmax(2)
        states = 1 + words + self.seen(attention @ memory)
        return Decoded(self.output(states), states, attention)
