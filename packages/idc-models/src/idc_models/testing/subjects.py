"""A plugin of each kind with random input to run it on and something to learn."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from idc_models.contract import Decoded, Fused, Outputs

BATCH, SLOTS, WIDTH, GRID, SIDE = 4, 6, 16, (4, 5), 64


@dataclass(frozen=True)
class Vocabulary:
    """A small token space: padding, bos, eos, unknown and eight words."""

    size: int = 12
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    max_length: int = 8


VOCAB = Vocabulary()
TOKENS = ((1, 4, 5, 6, 7, 2), (1, 8, 9, 2, 0, 0), (1, 10, 4, 11, 2, 0), (1, 5, 2, 0, 0, 0))


class Subject:
    """A plugin under test, with its settings."""

    wired: tuple[Any, ...] = ()
    """The positional arguments of its constructor."""

    def __init__(self, plugin: type[nn.Module], settings: dict[str, Any]) -> None:
        self.plugin, self.settings = plugin, settings

    def build(self) -> Any:
        """Constructs the plugin."""
        return self.plugin(*self.wired, **self.settings)

    def inputs(self) -> tuple[Any, ...]:
        """Gives the arguments of `forward`, a batch of random ones."""
        raise NotImplementedError

    def tensors(self, output: Any) -> list[Tensor]:
        """Gives the tensors of an output, the batch first in each of them."""
        raise NotImplementedError

    def loss(self, output: Any) -> Tensor:
        """Gives something to minimise: a fixed random probe has to tell the rows of the batch apart."""
        features = self.tensors(output)[0].flatten(1, -2).mean(1)
        probe = torch.randn(features.shape[1], BATCH, generator=torch.Generator().manual_seed(0))
        return cross_entropy(features @ probe, torch.arange(BATCH))

    def leaves(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Gives the tensors of the input that may be trained along."""
        return []


class EncoderSubject(Subject):
    """An encoder, on images of 64 px."""

    def inputs(self) -> tuple[Any, ...]:
        """Gives images."""
        return (torch.rand(BATCH, 3, SIDE, SIDE),)

    def tensors(self, output: Any) -> list[Tensor]:
        """Gives the grid."""
        return [output]


class FusionSubject(Subject):
    """A fusion, on grids of 4 x 5 cells."""

    wired = (WIDTH,)

    def inputs(self) -> tuple[Any, ...]:
        """Gives a before and an after grid."""
        return torch.randn(BATCH, *GRID, WIDTH), torch.randn(BATCH, *GRID, WIDTH)

    def tensors(self, output: Any) -> list[Tensor]:
        """Gives the memory, and the change map if there is one."""
        return [output.memory] + ([] if output.change_map is None else [output.change_map])

    def loss(self, output: Any) -> Tensor:
        """Adds the losses that the fusion itself names."""
        return super().loss(output) + sum(output.losses.values(), torch.zeros(()))


class DecoderSubject(Subject):
    """A decoder, on random memory and four captions."""

    wired = (WIDTH, VOCAB)

    def inputs(self) -> tuple[Any, ...]:
        """Gives a memory, and captions without their last token."""
        return torch.randn(BATCH, SLOTS, WIDTH), torch.tensor(TOKENS)[:, :-1]

    def tensors(self, output: Any) -> list[Tensor]:
        """Gives logits, states, and attention if there is one."""
        return [output.logits, output.states] + ([] if output.attention is None else [output.attention])

    def loss(self, output: Any) -> Tensor:
        """Gives the cross-entropy of the captions."""
        targets = torch.tensor(TOKENS)[:, 1:].flatten()
        return cross_entropy(output.logits.flatten(0, 1), targets, ignore_index=VOCAB.pad_id)


class ObjectiveSubject(Subject):
    """An objective, on random outputs of a decoder, which it is free to move."""

    wired = (WIDTH, VOCAB)

    def inputs(self) -> tuple[Any, ...]:
        """Gives the outputs for four captions of three pairs."""
        tokens = torch.tensor(TOKENS)
        logits = torch.randn(len(tokens), tokens.shape[1] - 1, VOCAB.size)
        states = torch.randn(*logits.shape[:2], WIDTH) + 1  # alike, as those of a careless model are
        fused = Fused(torch.randn(3, SLOTS, WIDTH).requires_grad_(), torch.rand(3, *GRID).requires_grad_())
        decoded = Decoded(logits.requires_grad_(), states.requires_grad_())
        return (Outputs(fused, decoded, tokens, torch.tensor([0, 0, 1, 2]), torch.eye(3).bool(), VOCAB.pad_id),)

    def tensors(self, output: Any) -> list[Tensor]:
        """Gives the loss."""
        return [output]

    def loss(self, output: Any) -> Tensor:
        """Gives the loss itself."""
        return output

    def leaves(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Gives logits, states, memory and change map."""
        (outputs,) = inputs
        return [outputs.decoded.logits, outputs.decoded.states, outputs.fused.memory, outputs.fused.change_map]
