"""Any backbone of timm as an encoder."""

from typing import Any, Literal

import timm
from idc_data.wording import suggestion
from jaxtyping import Float
from pydantic import PositiveInt
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from idc_models.encoders.backbone import RGB, BackboneEncoder, load_weights


class TimmEncoder(BackboneEncoder):
    """Encodes with any backbone of timm, convolutional or transformer, up to the level asked for.

    Args:
        backbone: a name of `timm.list_models()`, with or without the tag of its weights.
        level: which feature level gives the grid, as an index; -2 has stride 16 in nearly all backbones. What comes
            after it is cut off.
        pretrained: start from the published weights, which are downloaded.
        frozen: keep the weights as they are, batch-norm statistics included.
        weights: start from a local `.safetensors`, `.npz` or `.pth` file instead; its classifier is not needed. Names
            of `efficientnet-pytorch`, such as those of the published EfficientNet-Lite files, are read as they are.
        img_size: side of the images in pixels, which vision transformers must be told.
        pad_type: "same" for weights that were trained with TensorFlow's padding.
        mean: of each colour in [0, 1], if the weights want another one than timm says.
        std: of each colour, likewise.
        coordinates: append where each cell is to the grid, as two channels.

    Raises:
        ValueError: timm does not know the backbone, or it has no such level or option.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        level: int = -2,
        pretrained: bool = False,
        frozen: bool = False,
        weights: str | None = None,
        img_size: PositiveInt | None = None,
        pad_type: Literal["same"] | None = None,
        mean: RGB | None = None,
        std: RGB | None = None,
        coordinates: bool = False,
    ) -> None:
        if not timm.is_model(backbone):
            raise ValueError(f"unknown timm backbone {backbone!r}{suggestion(backbone, timm.list_models())}")
        if pretrained and weights:
            raise ValueError(f"encoder 'timm': pretrained is true and weights is {weights!r}; give one of the two")
        self.name, self.pretrained, self.weights = backbone, pretrained, weights
        self.options = {"img_size": img_size, "pad_type": pad_type}
        model = self._create()
        levels = len(model.feature_info)
        if not -levels <= level < levels:
            raise ValueError(f"level is {level!r}, but {backbone!r} has {levels}: -{levels} to {levels - 1}")
        self.level = level % levels  # from the front: what is cut off must not shift it
        dim = model.feature_info[level]["num_chs"]
        scale = resolve_model_data_config(model)
        mean, std = mean or scale["mean"], std or scale["std"]
        super().__init__(self._cut(model), dim, mean=mean, std=std, frozen=frozen, coordinates=coordinates)

    def encode(self, scaled: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw d"]:
        """Encodes scaled images up to the level asked for."""
        (grid,) = self.backbone.forward_intermediates(scaled, indices=[self.level], intermediates_only=True)
        return grid.permute(0, 2, 3, 1)

    def load_pretrained(self) -> None:
        """Loads the weights that `pretrained` or `weights` asks for.

        Raises:
            ValueError: the file does not fit the backbone, or the published weights cannot be downloaded.
        """
        if self.weights:
            model = self._create()
            classifier = model.pretrained_cfg.get("classifier") or ()
            load_weights(model, self.weights, ignore=[classifier] if isinstance(classifier, str) else classifier)
        elif self.pretrained:
            model = self._create(pretrained=True)
        else:
            return
        self.backbone.load_state_dict(self._cut(model).state_dict())

    def origin(self) -> str | None:
        """Name the file, or the backbone whose published weights are meant."""
        return self.weights or (f"the published weights of {self.name} (timm)" if self.pretrained else None)

    def _create(self, pretrained: bool = False) -> Any:
        options = {name: value for name, value in self.options.items() if value is not None}
        try:
            return timm.create_model(self.name, pretrained=pretrained, num_classes=0, **options)
        except TypeError as error:
            if not options:
                raise
            raise ValueError(f"timm backbone {self.name!r} does not take {' or '.join(options)}: {error}") from error
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            cause = str(error).partition("\n")[0]
            raise ValueError(
                f"the published weights of {self.name!r} cannot be had ({cause}); set pretrained: false, or weights: to"
                " a local file"
            ) from error

    def _cut(self, model: Any) -> nn.Module:
        model.prune_intermediate_layers([self.level], prune_norm=True, prune_head=True)
        return model
