"""Chg2Cap: self-attention within each image, then over both, and convolutions with their cosine similarity."""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from idc_models.contract import Fused, Fusion, Grid, Rate
from idc_models.fusions.bottleneck import Bottleneck
from idc_models.positions import GridTable


class Chg2Cap(Fusion):
    """Fuses by self-attention within each image and then over both; one memory slot per cell.

    Each layer updates both sides with the same weights, concatenates them along their width, updates the result, and
    adds the input of the first layer to each half. The cosine similarity of the two sides of a cell is added to all its
    features before they are projected to the memory's width.

    Source: Chang and Ghamisi, Changes to Captions: An Attentive Network for Remote Sensing Change Captioning, TIP 2023.
    Differs from the authors' code, in which keys serve as values and the convolutions see the grid transposed: values
    have their own weights, and the grid is not transposed. `as_published` restores the authors' computation.

    Args:
        visual_dim: Width of a grid cell and of the layers.
        dim: Width of a memory slot; published: 2048.
        layers: Number of layers; published: 3.
        heads: Number of attention heads, a divisor of `attention_dim`; published: 8.
        attention_dim: Width of queries, keys and values; published: 2048.
        feed_dim: Width of the feed-forward networks; published: 512.
        dropout: Dropout rate on attention weights and after every sub-layer; published: 0.1.
        grid_side: Maximum height and width of a grid, in cells.
        as_published: Compute the same as the authors' code, to use its weights.

    Raises:
        ValueError: `heads` does not divide `attention_dim`, or a grid is larger than `grid_side`.
    """

    layers: Any  # a ModuleList, which type checkers cannot look into

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 256,
        layers: PositiveInt = 3,
        heads: PositiveInt = 8,
        attention_dim: PositiveInt = 256,
        feed_dim: PositiveInt = 256,
        dropout: Rate = 0.1,
        grid_side: PositiveInt = 16,
        as_published: bool = False,
    ) -> None:
        super().__init__(visual_dim)
        if attention_dim % heads:
            raise ValueError(
                f"fusion 'chg2cap': attention_dim is {attention_dim!r} and heads is {heads!r}; heads must divide it"
            )
        self.memory_dim, self.as_published = dim, as_published
        self.positions = GridTable(visual_dim, grid_side)
        sizes = (heads, attention_dim, feed_dim, dropout, as_published)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"alone": Layer(visual_dim, *sizes), "joint": Layer(2 * visual_dim, *sizes)})
            for _ in range(layers)
        )
        for weights in self.parameters():
            if weights.ndim > 1:
                nn.init.xavier_uniform_(weights)
        self.mix, self.refine = nn.Conv2d(2 * visual_dim, dim, 1), Bottleneck(dim)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        size = (before.shape[1], before.shape[2])
        first = sides = torch.cat([(grid + self.positions(*size)).flatten(1, 2) for grid in (before, after)])
        for layer in self.layers:
            sides = layer["alone"](sides) + sides
            both = layer["joint"](torch.cat(sides.chunk(2), dim=2))
            sides = torch.cat(both.chunk(2, dim=2)) + first
        own, other = sides.chunk(2)
        alike = cosine_similarity(own, other, dim=2)[..., None]
        grid = (torch.cat([own, other], dim=2) + alike).transpose(1, 2).unflatten(2, size)
        if self.as_published:
            grid = self.refine(self.mix(grid.transpose(2, 3))).transpose(2, 3)
        else:
            grid = self.refine(self.mix(grid))
        return Fused(grid.flatten(2).transpose(1, 2), grid=size, extras={"before": own, "after": other})


class Layer(nn.Module):
    """Self-attention and a feed-forward network, with layer norms after the residuals."""

    def __init__(
        self, dim: int, heads: int, attention_dim: int, feed_dim: int, rate: float, keys_are_values: bool
    ) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.query, self.key = (nn.Linear(dim, attention_dim, bias=False) for _ in range(2))
        self.value = None if keys_are_values else nn.Linear(dim, attention_dim, bias=False)
        self.output = nn.Linear(attention_dim, dim)
        self.linear1, self.linear2 = nn.Linear(dim, feed_dim), nn.Linear(feed_dim, dim)
        self.norm1, self.norm2, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(rate)

    def forward(self, tokens: Float[Tensor, "n m d"]) -> Float[Tensor, "n m d"]:
        """Update the tokens."""
        projections = (self.query, self.key, self.value or self.key)
        parts = (each(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for each in projections)
        read = scaled_dot_product_attention(*parts, dropout_p=self.rate if self.training else 0.0)
        tokens = self.norm1(self.dropout(self.output(read.transpose(1, 2).flatten(2))) + tokens)
        return self.norm2(self.dropout(self.linear2(self.dropout(self.linear1(tokens).relu()))) + tokens)
