"""Weights averaged over the training steps, which are validated, stored and tested instead of the latest."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_NAMES = "average/"


class Average:
    """An exponential moving average of the trainable weights; batch norm statistics are not averaged.

    As in Tarvainen and Valpola (NeurIPS 2017), the decay after n steps is at most (1 + n) / (10 + n), so that the
    random initial weights are soon forgotten.

    Args:
        model: The model.
        decay: The decay, above 0 and below 1; None disables averaging.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._decay = decay
        trained = {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
        self._weights = trained if decay else {}
        self._averages = {name: weights.detach().clone() for name, weights in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after a step, counted from 0."""
        if self._decay:
            moved = 1 - min(self._decay, (1 + step) / (10 + step))
            for name, weights in self._weights.items():
                self._averages[name].lerp_(weights, moved)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Swap the averages into the model, and its own weights back afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """Return the averages for a checkpoint."""
        return {f"{_NAMES}{name}": value for name, value in self._averages.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore the averages from a checkpoint."""
        for name, average in self._averages.items():
            average.copy_(state[f"{_NAMES}{name}"])

    def _swap(self) -> None:
        for name, weights in self._weights.items():
            # Swapping storages avoids rounding, and the optimizer keeps the same parameter objects.
            weights.data, self._averages[name] = self._averages[name], weights.data
