"""CLIP4IDC: the last layers of a vision transformer see both images together."""

from typing import Any

import timm
import torch
from idc_data.wording import suggestion
from pydantic import PositiveInt
from timm.models.vision_transformer import Block
from torch import nn

from idc_models.contract import Fused, Fusion, Grid
from idc_models.encoders.backbone import load_weights


class Clip4Idc(Fusion):
    """Fuses with the last layers of a vision transformer over the cells of both images; one memory slot per cell.

    The encoder `timm` runs the first layers of the same backbone on each image: of twelve layers, level 8 leaves three.
    Encodings of side and position are added to each cell, then all cells attend to each other. The slots of the before
    image precede those of the after image. Without a backbone the layers have width `dim` and random weights, so any
    encoder will do.

    Source: Guo, Wang, Laaksonen, CLIP4IDC: CLIP for Image Difference Captioning, AACL 2022, section 3.2. Differs from
    the paper: the class token of an image stays in the encoder, so an image of 224 px with patches of 32 has 49 tokens,
    not 50; and the projection to `dim` is trained from scratch, where the paper starts from CLIP's.

    Args:
        visual_dim: Width of a grid cell.
        dim: Width of a memory slot; published: 512.
        backbone: The vision transformer of timm that provides the layers, with or without the tag of its weights.
        layers: Number of joint layers; published: 3.
        heads: Number of attention heads if there is no backbone, a divisor of `dim`.
        pretrained: Start from the published weights of the backbone, which are downloaded.
        weights: Start from a local `.safetensors` or `.npz` file instead.
        grid_side: Maximum height and width of a grid, in cells.

    Raises:
        ValueError: The backbone is not a vision transformer of timm or has fewer layers, weights are requested without
            a backbone, or `heads` does not divide `dim`.
    """

    layers: Any  # a ModuleList, which type checkers cannot look into

    def __init__(
        self,
        visual_dim: int,
        *,
        dim: PositiveInt = 256,
        backbone: str | None = None,
        layers: PositiveInt = 3,
        heads: PositiveInt = 4,
        pretrained: bool = False,
        weights: str | None = None,
        grid_side: PositiveInt = 16,
    ) -> None:
        super().__init__(visual_dim)
        self.backbone, self.pretrained, self.weights = backbone, pretrained, weights
        if (pretrained or weights) and backbone is None:
            raise ValueError("fusion 'clip4idc': pretrained or weights is set without a backbone; set backbone as well")
        if dim % heads:
            raise ValueError(f"fusion 'clip4idc': dim is {dim!r} and heads is {heads!r}; heads must divide dim")
        self.layers, self.last_norm = self._layers(dim, layers, heads)
        width = self.layers[0].norm1.normalized_shape[0]
        self.project = nn.Identity() if visual_dim == width else nn.Linear(visual_dim, width)
        self.sides = nn.Parameter(torch.randn(2, 1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(2, grid_side, grid_side, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, dim, bias=False)
        self.memory_dim = dim

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids.

        Raises:
            ValueError: The grids are larger than `grid_side`.
        """
        height, width = before.shape[1:3]
        if max(height, width) > (side := self.places.shape[1]):
            raise ValueError(
                f"the grid is {height} x {width} cells, but the fusion has positions for at most {side} x {side}; "
                "raise its grid_side, or reduce the image size"
            )
        codes = self.sides + self.places[:, :height, :width]
        tokens = torch.cat(
            [(self.project(grid) + code).flatten(1, 2) for grid, code in zip((before, after), codes, strict=True)], 1
        )
        tokens = self.norm(tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        return Fused(self.output(self.last_norm(tokens)), grid=(height, width))

    def load_pretrained(self) -> None:
        """Load the last layers of the backbone.

        Raises:
            ValueError: The file does not fit the backbone, or the published weights cannot be downloaded.
        """
        if not (self.pretrained or self.weights):
            return
        assert self.backbone is not None
        try:
            model = self._create(self.backbone, pretrained=self.pretrained)
        except (OSError, RuntimeError) as error:
            cause = str(error).partition("\n")[0]
            raise ValueError(
                f"the published weights of {self.backbone!r} cannot be loaded ({cause}); set pretrained: false, or "
                "weights: to a local file"
            ) from error
        if self.weights:
            load_weights(model, self.weights, ignore=["head"])
        self.layers.load_state_dict(nn.ModuleList(model.blocks[-len(self.layers) :]).state_dict())
        self.last_norm.load_state_dict(model.norm.state_dict())

    def origin(self) -> str | None:
        """Return the file, or the backbone with published weights, that weights are loaded from."""
        return self.weights or (f"the published weights of {self.backbone} (timm)" if self.pretrained else None)

    def _layers(self, dim: int, layers: int, heads: int) -> tuple[nn.ModuleList, nn.Module]:
        if self.backbone is None:
            return nn.ModuleList(Block(dim, heads, qkv_bias=True) for _ in range(layers)), nn.LayerNorm(dim)
        known = timm.list_models("*vit*")
        if not timm.is_model(self.backbone):
            raise ValueError(f"unknown timm backbone {self.backbone!r}{suggestion(self.backbone, known)}")
        model = self._create(self.backbone)
        blocks = getattr(model, "blocks", ())
        if not all(isinstance(block, Block) for block in blocks) or not layers <= len(blocks):
            raise ValueError(
                f"fusion 'clip4idc': {self.backbone!r} does not end with {layers} layers of a vision transformer; "
                "expected a backbone such as vit_base_patch32_clip_quickgelu_224.openai"
            )
        return nn.ModuleList(blocks[-layers:]), model.norm

    def _create(self, name: str, *, pretrained: bool = False) -> Any:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
