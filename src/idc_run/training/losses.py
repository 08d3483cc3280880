"""Running means of the training losses, over all processes."""

from typing import Any

import torch

from idc_run.training.processes import world


class Losses:
    """Running means of every part of the loss, over all processes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._means: dict[str, Any] = {}

    def update(self, parts: dict[str, torch.Tensor]) -> None:
        """Add the losses of one step."""
        if not self._means:
            self._means = {name: _mean(self._device) for name in parts}
        for name, value in parts.items():
            self._means[name].update(value.detach())

    def report(self) -> dict[str, float]:
        """Return the means since the last report, with prefix `train/`, and reset them."""
        values = {f"train/{name}": float(mean.compute()) for name, mean in self._means.items()}
        for mean in self._means.values():
            mean.reset()
        return values


def _mean(device: torch.device) -> Any:
    """Return a mean over processes; a single process avoids torchmetrics, whose import takes ten seconds."""
    if world() == 1:
        return _Mean()
    from torchmetrics import MeanMetric

    return MeanMetric().to(device)


class _Mean:
    def __init__(self) -> None:
        self.reset()

    def update(self, value: torch.Tensor) -> None:
        self._total, self._count = self._total + value, self._count + 1

    def compute(self) -> torch.Tensor | float:
        return self._total / self._count

    def reset(self) -> None:
        self._total: torch.Tensor | float = 0.0
        self._count = 0
