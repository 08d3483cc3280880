"""Weights averaged over the steps of training: what is validated, kept and shipped in place of the latest."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_NAMES = "average/"


class Average:
    """An exponential moving average of the trainable weights; statistics of batch norms stay those of the model.

    Early steps count more (Tarvainen and Valpola, NeurIPS 2017): after n steps the decay is at most (1 + n) / (10 + n),
    so that random weights are soon forgotten.

    Args:
        model: Whose weights.
        decay: What is kept of the average at each step, above 0 and below 1; None averages nothing.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._decay = decay
        trained = {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
        self._weights = trained if decay else {}
        self._averages = {name: weights.detach().clone() for name, weights in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        if self._decay:
            moved = 1 - min(self._decay, (1 + step) / (10 + step))
            for name, weights in self._weights.items():
                self._averages[name].lerp_(weights, moved)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the averages into the model, and afterwards its own weights back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps to go on from."""
        return {f"{_NAMES}{name}": value for name, value in self._averages.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        for name, average in self._averages.items():
            average.copy_(state[f"{_NAMES}{name}"])

    def _swap(self) -> None:
        for name, weights in self._weights.items():
            # The storages change places: nothing is rounded, and the optimizer's weights are the same objects.
            weights.data, self._averages[name] = self._averages[name], weights.data
