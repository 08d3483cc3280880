"""The optimizer and the learning rate schedule of a spec."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from idc_models.captioner import Captioner
from torch.nn import Parameter

from idc_run.spec import OptimizerSpec, ScheduleSpec
from idc_run.training.eager import Adam, AdamW
from idc_run.training.muon import Muon


def build_optimizer(model: Captioner, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Build the optimizer of the trainable parameters; weight decay excludes vectors (biases, normalisation).

    Muon (Jordan, 2024) updates matrices that map features to features, including flattened kernels, with the scale of
    Liu et al. (Muon is Scalable for LLM Training, 2025), so that its steps are as large as those of AdamW at the same
    rate. As its authors advise, matrices with one row per word of the vocabulary are updated by AdamW.

    The key `scale` of each parameter group is its factor in `spec.rates`.
    """
    groups = [group for scale in _by_scale(model, spec) for group in _groups(model, spec, *scale)]
    if spec.name == "muon":
        return Muon(groups, lr=spec.lr, weight_decay=spec.weight_decay, betas=spec.betas, fallback_lr_scale=0.2)
    kind = AdamW if spec.name == "adamw" else Adam
    return kind(groups, lr=spec.lr, betas=spec.betas, fused=True)


def _by_scale(model: Captioner, spec: OptimizerSpec) -> list[tuple[float, list[Parameter]]]:
    """Return the trainable parameters grouped by scale, in the model's order."""
    rates = {str(part): rate for part, rate in spec.rates.items()}
    scales: dict[float, list[Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scales.setdefault(rates.get(name.partition(".")[0], 1.0), []).append(parameter)
    return [*scales.items()]


def _groups(
    model: Captioner, spec: OptimizerSpec, scale: float, parameters: Sequence[Parameter]
) -> list[dict[str, Any]]:
    """Return the optimizer's groups for parameters of one scale; groups may be empty."""
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": spec.weight_decay}, vectors]
    if spec.name == "muon":
        words = {"params": [p for p in matrices if len(p) == model.decoder.vocab.size], "use_fallback": True}
        matrices = [p for p in matrices if len(p) != model.decoder.vocab.size]
        groups = [{"params": matrices}, words, {**vectors, "use_fallback": True}]
    return [{**group, "scale": scale} for group in groups]


class Schedule:
    """The learning rate at each step: a linear warm-up from 0, then cosine decay to 0, steps, plateaus or constant.

    Args:
        spec: The schedule and its settings.
        lr: The learning rate after the warm-up.
        epoch_steps: Steps per epoch.
        epochs: Epochs of the whole run.
    """

    def __init__(self, spec: ScheduleSpec, lr: float, epoch_steps: int, epochs: int) -> None:
        self._spec, self._lr, self._epoch_steps = spec, lr, epoch_steps
        self._total = epoch_steps * epochs
        self.reductions = 0
        self._waited = 0

    def rate(self, step: int) -> float:
        """Return the learning rate at a step, counted from 0."""
        spec = self._spec
        if step < spec.warmup_steps:
            return self._lr * (step + 1) / spec.warmup_steps
        if spec.name == "cosine":
            done = (step - spec.warmup_steps) / max(self._total - spec.warmup_steps, 1)
            return self._lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        if spec.name == "step":
            return self._lr * spec.factor ** (step // self._epoch_steps // spec.every_epochs)
        return self._lr * spec.factor**self.reductions

    def end_epoch(self, *, better: bool) -> None:
        """Tell a `plateau` schedule whether the validation score was the best so far."""
        self._waited = 0 if better else self._waited + 1
        if self._spec.name == "plateau" and self._waited >= self._spec.patience:
            self.reductions, self._waited = self.reductions + 1, 0

    def state(self) -> dict[str, int]:
        """Return the state for a checkpoint."""
        return {"reductions": self.reductions, "waited": self._waited}

    def restore(self, state: dict[str, int]) -> None:
        """Restore the state from a checkpoint."""
        self.reductions, self._waited = state["reductions"], state["waited"]
