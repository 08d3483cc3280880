"""Token-level similarity between sets of tokens, and a contrastive loss over it."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy


def likeness(ours: Float[Tensor, "a m d"], theirs: Float[Tensor, "b n d"]) -> Float[Tensor, "a b"]:
    """Compute the similarity of every two sets of tokens: each token's best match, averaged in both directions.

    Source: Tu et al., ICCV 2023 (SCORER), equation 5; the dot products are not divided by the square root of the width.
    """
    return _Likeness.apply(ours, theirs)  # pyright: ignore[reportReturnType]


class _Likeness(torch.autograd.Function):
    """Computes gradients for the best matches only: one product in n and one in m."""

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, nearest = [], []
        for tokens in ours:  # one set at a time: all products at once would be a x m x b x n numbers
            each = torch.einsum("md,bnd->bmn", tokens, theirs)
            (forth, there), (back, here) = each.max(2), each.max(1)
            rows.append((forth.mean(1) + back.mean(1)) / 2)
            nearest.append((there, here))
        there, here = (torch.stack(each) for each in zip(*nearest, strict=True))
        ctx.save_for_backward(ours, theirs, there, here)
        return torch.stack(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ours, theirs, there, here = ctx.saved_tensors  # there: a b m, here: a b n
        (a, m, _), (b, n, _) = ours.shape, theirs.shape
        own = torch.arange(a * m, device=grad.device).view(a, 1, m)
        other = torch.arange(b * n, device=grad.device).view(1, b, n)
        first, second = own[:, :, :1] + here, other[:, :, :1] + there  # best match of each token of the other side
        places = torch.stack(
            [
                torch.cat([own.expand_as(there).flatten(), first.flatten()]),
                torch.cat([second.flatten(), other.expand_as(here).flatten()]),
            ]
        )
        exact = torch.promote_types(ours.dtype, torch.float32)  # sparse products do not support half precision
        shares = [(grad.to(exact)[..., None] / (2 * num)).expand(-1, -1, num).flatten() for num in (m, n)]
        products = torch.sparse_coo_tensor(places, torch.cat(shares), (a * m, b * n), check_invariants=False)
        products = products.coalesce()
        to_ours = torch.sparse.mm(products, theirs.flatten(0, 1).to(exact)).view_as(ours)
        to_theirs = torch.sparse.mm(products.t(), ours.flatten(0, 1).to(exact)).view_as(theirs)
        return to_ours.to(ours.dtype), to_theirs.to(theirs.dtype)


def contrast(scores: Float[Tensor, "b b"], alike: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Compute the cross-entropy of picking each row's own column; other columns where `alike` is True are ignored."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.float().masked_fill(alike & ~own, -torch.inf)
    return cross_entropy(scores, torch.arange(len(scores), device=scores.device))


class Scale(nn.Module):
    """A learned factor for match scores: exp(logit_scale), at most 100."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, scores: Tensor) -> Tensor:
        """Scale the scores."""
        if self.training:  # same as clamping after each optimizer step
            self.logit_scale.data.clamp_(max=math.log(100))
        return scores * self.logit_scale.exp()
