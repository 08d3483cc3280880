"""A Transformer over the patches of both images, as in CLIP4IDC and vision-language models."""

import torch
from idc_models.contract import Encoder, Grid, Side
from idc_models.positions import grid_sinusoids
from torch import nn


class JointTransformer(Encoder):
    """Encodes both images jointly: their patches attend to each other from the first layer on."""

    def __init__(self, *, dim: int = 64, patch: int = 8, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.dim = dim
        self.patches = nn.Conv2d(3, dim, patch, stride=patch)
        self.side = nn.Parameter(torch.randn(2, 1, 1, 1, dim) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )

    def pair(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Encode both images; there is no `forward`, because a single image cannot be encoded."""
        images = torch.stack([before, after])
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        grids = self.patches(images.flatten(0, 1) * 4 - 2).permute(0, 2, 3, 1).unflatten(0, (2, -1))
        height, width = grids.shape[2:4]
        grids = grids + self.side + grid_sinusoids(height, width, self.dim, like=grids)
        tokens = torch.cat([*grids.flatten(2, 3)], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        old, new = (side.unflatten(1, (height, width)) for side in tokens.chunk(2, dim=1))
        return old, new
