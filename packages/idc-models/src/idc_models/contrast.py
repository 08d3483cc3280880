"""How alike pairs of a batch are, token by token, and how hard it is to tell a pair's own side from the others."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def likeness(ours: Float[Tensor, "a m d"], theirs: Float[Tensor, "b n d"]) -> Float[Tensor, "a b"]:
    """Compare every set of tokens with every other: each token with the one most like it, and the mean both ways.

    Source: Tu et al., ICCV 2023 (SCORER), equation 5; the products are not divided by the root of the width.
    """
    rows = []
    for tokens in ours:  # one at a time: all products at once would be a times m times b times n numbers
        each = torch.einsum("md,bnd->bmn", tokens, theirs)
        rows.append((each.max(2).values.mean(1) + each.max(1).values.mean(1)) / 2)
    return torch.stack(rows)


def contrast(scores: Float[Tensor, "b b"], alike: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Compute the cross-entropy of finding each row's own column; other columns that are alike do not count."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.float().masked_fill(alike & ~own, -torch.inf)
    return cross_entropy(scores, torch.arange(len(scores), device=scores.device))


class Scale(nn.Module):
    """A learned factor of match scores: exp(logit_scale), 100 at most."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, scores: Tensor) -> Tensor:
        """Scale the scores."""
        if self.training:  # as after the last step of the optimizer
            self.logit_scale.data.clamp_(max=math.log(100))
        return scores * self.logit_scale.exp()
