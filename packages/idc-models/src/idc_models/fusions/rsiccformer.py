"""RSICCformer: each image attends to the difference, and the outputs of all layers are fused."""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from idc_models.contract import Fused, Grid, Rate
from idc_models.fusions.bottleneck import Bottleneck
from idc_models.fusions.mccformers_d import CrossLayer
from idc_models.fusions.tokens import TokenFusion


class Rsiccformer(TokenFusion):
    """Fuses by attention of each image to the difference, and by convolutions over the outputs of all layers.

    In each layer both sides attend, with shared weights, to their difference before the layer, after minus before. The
    memory starts as the concatenated sides of the first layer; those of each further layer are added and convolved.

    Source: Liu et al., Remote Sensing Image Change Captioning With Dual-Branch Transformers, TGRS 2022. Differs from
    the paper: as in the authors' code, the images are the queries and the difference provides keys and values, not the
    reverse. Grids may have any size, whereas that code requires 14 x 14.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of the layers, half the width of a memory slot; published: 512.
        layers: Number of layers; published: 3.
        heads: Number of attention heads, a divisor of `dim`; published: 8.
        dropout: Dropout rate on attention weights and after every sub-layer; published: 0.5.
        grid_side: Maximum height and width of a grid, in cells.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: `heads` does not divide `dim`, or a grid is larger than `grid_side`.
    """

    layers: Any  # ModuleLists, which type checkers cannot look into
    refine: Any
    norms: Any

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 256,
        layers: PositiveInt = 3,
        heads: PositiveInt = 8,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        coordinates: bool = False,
    ) -> None:
        super().__init__(visual_dim, dim=dim, heads=heads, grid_side=grid_side, coordinates=coordinates)
        self.memory_dim = 2 * dim
        self.layers = nn.ModuleList(CrossLayer(dim, heads, dropout) for _ in range(layers))
        self.refine = nn.ModuleList(Bottleneck(self.memory_dim) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(self.memory_dim) for _ in range(layers))
        for weights in self.parameters():
            if weights.ndim > 1:
                nn.init.xavier_uniform_(weights)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        size = (before.shape[1], before.shape[2])
        own, other = self.tokens(before), self.tokens(after)
        memory: Float[Tensor, "b m e"] | None = None
        for layer, refine, norm in zip(self.layers, self.refine, self.norms, strict=True):
            difference = other - own
            own, other = layer(torch.cat([own, other]), torch.cat([difference, difference])).chunk(2)
            both = torch.cat([own, other], dim=2)
            memory = both if memory is None else memory + both
            grid = refine(memory.transpose(1, 2).unflatten(2, size))
            memory = norm(grid.flatten(2).transpose(1, 2))
        assert memory is not None
        return Fused(memory, grid=size)
