"""Any backbone of timm as an encoder."""

from typing import Any, Literal

import timm
from idc_data.hub import without_retries_logged
from idc_data.wording import suggestion
from jaxtyping import Float
from pydantic import PositiveInt
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from idc_models.encoders.backbone import RGB, BackboneEncoder, load_weights


class TimmEncoder(BackboneEncoder):
    """Encodes with any backbone of timm, convolutional or transformer, up to a selected level.

    Args:
        backbone: A name in `timm.list_models()`, with or without the tag of its weights.
        level: Index of the feature level that provides the grid; -2 has stride 16 in nearly all backbones. Later layers
            are removed.
        pretrained: Start from the published weights, which are downloaded.
        frozen: Do not train the weights, nor update batch-norm statistics.
        weights: Start from a local `.safetensors`, `.npz` or `.pth` file instead; its classifier is ignored. Names
            of `efficientnet-pytorch`, as in the published EfficientNet-Lite files, are converted.
        img_size: Height and width of the images in pixels, which vision transformers need.
        pad_type: "same" for weights trained with TensorFlow's padding.
        mean: Mean of each colour channel, in [0, 1], if the weights need another than timm's default.
        std: Standard deviation of each colour channel, likewise.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: The backbone is not in timm, or has no such level or option.
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
        self.level = level % levels  # counted from the first, so that removing later levels does not shift it
        dim = model.feature_info[level]["num_chs"]
        scale = resolve_model_data_config(model)
        mean, std = mean or scale["mean"], std or scale["std"]
        super().__init__(self._cut(model), dim, mean=mean, std=std, frozen=frozen, coordinates=coordinates)

    def encode(self, scaled: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw d"]:
        """Encode scaled images up to the selected level."""
        (grid,) = self.backbone.forward_intermediates(scaled, indices=[self.level], intermediates_only=True)
        return grid.permute(0, 2, 3, 1)

    def load_pretrained(self) -> None:
        """Load the weights that `pretrained` or `weights` requests.

        Raises:
            ValueError: The file does not fit the backbone, or the published weights cannot be downloaded.
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
        """Return the file, or the backbone with published weights, that weights are loaded from."""
        return self.weights or (f"the published weights of {self.name} (timm)" if self.pretrained else None)

    def _create(self, pretrained: bool = False) -> Any:
        options = {name: value for name, value in self.options.items() if value is not None}
        try:
            with without_retries_logged():
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
                f"the published weights of {self.name!r} cannot be loaded ({cause}); set pretrained: false, or set "
                "weights: to a local file"
            ) from error

    def _cut(self, model: Any) -> nn.Module:
        model.prune_intermediate_layers([self.level], prune_norm=True, prune_head=True)
        return model
