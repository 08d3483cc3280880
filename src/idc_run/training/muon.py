"""The Muon optimizer: orthogonalised steps for matrices, NAdamW for all other parameters.

Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024
(https://kellerjordan.github.io/posts/muon/), with the coefficients of modded-nanogpt and the scale of Liu et al., Muon
is Scalable for LLM Training, 2025. On a CPU it equals `timm.optim.muon.Muon(nesterov=True)` bit for bit; importing that
one takes torchvision and several seconds. `torch.optim.Muon` does not support convolution kernels and has one triple of
coefficients.
"""

from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from idc_run.training.eager import Eager

MOMENTUM, EPS = 0.95, 1e-7

QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Coefficients of the quintic polynomial of each Newton-Schulz step."""


class Muon(Eager):
    """Muon for matrices and flattened kernels; NAdamW for groups with `use_fallback` and for degenerate matrices.

    Args:
        groups: Parameter groups, as for other optimizers.
        lr: Learning rate of the matrices.
        weight_decay: Shrinks parameters by `lr * weight_decay` per step, unless a group overrides it.
        betas: Coefficients of NAdamW.
        fallback_lr_scale: Factor of the learning rate for NAdamW.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        fallback_lr_scale: float,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "fallback_lr_scale": fallback_lr_scale}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    matrix = not group.get("use_fallback") and is_matrix(parameter)
                    (self._muon if matrix else self._nadamw)(parameter, parameter.grad, group)

    def _muon(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, lr = self.state[parameter], group["lr"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        parameter.mul_(1 - lr * group["weight_decay"])
        momentum = state["momentum_buffer"].lerp_(grad, 1 - MOMENTUM)
        update = orthogonal(grad.lerp(momentum, MOMENTUM).reshape(len(grad), -1))
        scale = 0.2 * max(update.shape) ** 0.5  # matches the root mean square of AdamW's steps
        parameter.add_(update.reshape(grad.shape), alpha=-lr * scale)

    def _nadamw(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, lr, (beta1, beta2) = self.state[parameter], group["lr"] * group["fallback_lr_scale"], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        step = state["step"].item()
        parameter.mul_(1 - lr * group["weight_decay"])
        mean = state["exp_avg"].lerp_(grad, 1 - beta1).lerp(grad, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = (square.sqrt() / (1 - beta2**step) ** 0.5).add_(EPS)
        parameter.addcdiv_(mean, root, value=-lr / (1 - beta1**step))


def is_matrix(parameter: Tensor) -> bool:
    """Return whether a parameter, trailing axes flattened, has at least 4 rows and columns and is not too narrow."""
    if parameter.ndim < 2 or 1 in parameter.shape[:2]:
        return False
    low, high = sorted((len(parameter), prod(parameter.shape[1:])))
    return low >= 4 and high <= 128 * low


def orthogonal(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Bring all singular values of a matrix close to 1, with Newton-Schulz steps in bfloat16."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(torch.bfloat16, copy=True)
    x = x.mT if tall else x
    x = x.div_(x.norm(2, dim=(-2, -1), keepdim=True).clamp_(min=EPS)).contiguous()
    for a, b, c in QUINTIC:
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
