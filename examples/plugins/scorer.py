"""SCORER in outline: a fusion by cross-attention, and a contrastive objective on its match scores.

Source: Tu et al., Self-supervised Cross-view Representation Reconstruction for Change Captioning, ICCV 2023.
"""

import torch
from idc_models.contract import Fused, Fusion, Grid, Objective, Outputs
from idc_models.positions import grid_sinusoids
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def likeness(ours: Tensor, theirs: Tensor) -> Tensor:
    """Score every image `a m d` against every other `b n d`, token by token; return `a b`."""
    each = torch.einsum("amd,bnd->abmn", ours, theirs) / ours.shape[-1] ** 0.5
    return (each.amax(3).mean(2) + each.amax(2).mean(2)) / 2


def contrast(match: Tensor, scene: Tensor) -> Tensor:
    """Compute the contrastive loss of matching the images of each pair; the same scene is never a negative."""
    own = torch.eye(len(match), dtype=torch.bool, device=match.device)
    match, target = match.masked_fill(scene & ~own, -torch.inf), torch.arange(len(match), device=match.device)
    return (cross_entropy(match, target) + cross_entropy(match.T, target)) / 2


class Scorer(Fusion):
    """Fuses by cross-attention between the images; the memory concatenates both, cell by cell."""

    def __init__(self, visual_dim: int, *, dim: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__(visual_dim)
        self.memory_dim = dim
        self.project = nn.Linear(visual_dim, dim)
        self.layers = nn.ModuleList(nn.MultiheadAttention(dim, heads, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.output, self.scale = nn.Linear(2 * dim, dim), nn.Parameter(torch.ones(()))

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids; extras are the tokens of both images and the match scores of all pairs."""
        height, width = before.shape[1:3]
        places = grid_sinusoids(height, width, self.memory_dim, like=before)
        old, new = ((self.project(side) + places).flatten(1, 2) for side in (before, after))
        extras = {"before": old, "after": new}
        for attend, norm in zip(self.layers, self.norms, strict=True):
            old, new = (norm(own + attend(own, other, other)[0]) for own, other in ((old, new), (new, old)))
        extras["match"] = likeness(old, new) * self.scale.exp()
        return Fused(self.output(torch.cat([old, new], dim=2)).relu(), grid=(height, width), extras=extras)


class Match(Objective):
    """Contrastive matching: each image finds its partner among all pairs of the batch."""

    def forward(self, outputs: Outputs) -> Tensor:
        """Compute the contrastive loss of the match scores."""
        return contrast(outputs.extra("match"), outputs.scene)
