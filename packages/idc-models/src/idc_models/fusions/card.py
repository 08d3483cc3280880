"""CARD: subtracts from each image what both have in common; the remainder is the difference."""

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.tokens import AttentionLayer, TokenFusion


class Card(TokenFusion):
    """Fuses by subtracting from each image what cross-attention finds in both; one memory slot per cell.

    A learned context token precedes the cells of each image and gathers context by self-attention. One projection of it
    represents the common context of both images, another the context of its own image. The common context is appended
    to the cells before cross-attention, the own context to the cells that remain after the subtraction.

    Extras, `b d`: `before_common` and `after_common` (for `consistency`), `before_own` and `after_own` (for
    `independence`).

    Source: Tu et al., Context-aware Difference Distilling for Multi-change Captioning, ACL 2024.
    Differs from the authors' code: positions are learned for rows and columns, so that grids of other sizes fit, not
    for each of 197 places. Choices that the paper leaves open: both images share the context token; the subtraction
    starts from the cells after self-attention; and only the first projection has an activation. As in the authors'
    code, the after image attends to the already updated before image.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the layers and of a memory slot; published: 512.
        heads: Number of attention heads, a divisor of `dim`; published: 8.
        dropout: Dropout rate on attention weights and after attention; published: 0.1.
        grid_side: Maximum height and width of a grid, in cells.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: `heads` does not divide `dim`, or a grid is larger than `grid_side`.
    """

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 256,
        heads: PositiveInt = 8,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        self.memory_dim = dim
        self.context = nn.Embedding(1, dim)
        self.relate, self.share = (AttentionLayer(dim, heads, dropout) for _ in range(2))
        self.common, self.before_own, self.after_own = (nn.Linear(dim, dim) for _ in range(3))
        self.guide, self.augment, self.output = (nn.Linear(2 * dim, dim) for _ in range(3))

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        sides = torch.cat([self.tokens(before), self.tokens(after)])
        sides = torch.cat([self.context.weight.expand(len(sides), 1, -1), sides], dim=1)
        sides = self.relate(sides, sides)
        context, cells = sides[:, 0], sides[:, 1:]
        common, (first, second) = self.common(context), context.chunk(2)
        own = torch.cat([self.before_own(first), self.after_own(second)])
        guided = self.guide(beside(cells, common)).relu()
        shared_before = self.share(*guided.chunk(2))
        shared_after = self.share(guided.chunk(2)[1], shared_before)
        left = self.augment(beside(cells - torch.cat([shared_before, shared_after]), own))
        memory = self.output(torch.cat(left.chunk(2), dim=2))
        extras = {}
        for name, both in (("common", common), ("own", own)):
            extras[f"before_{name}"], extras[f"after_{name}"] = both.chunk(2)
        return Fused(memory, grid=(before.shape[1], before.shape[2]), extras=extras)


def beside(cells: Float[Tensor, "n m d"], context: Float[Tensor, "n d"]) -> Float[Tensor, "n m both"]:
    """Append the context of an image to each of its cells."""
    return torch.cat([cells, context[:, None].expand(-1, cells.shape[1], -1)], dim=2)
