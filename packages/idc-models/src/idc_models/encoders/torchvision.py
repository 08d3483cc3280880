"""The ResNet and EfficientNet families of torchvision as encoders."""

from itertools import chain

from idc_data.wording import suggestion
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from idc_models.encoders.backbone import BackboneEncoder

FAMILIES = ("resnet", "resnext", "wide_resnet", "efficientnet")


class TorchvisionEncoder(BackboneEncoder):
    """Encodes with a ResNet or an EfficientNet of torchvision, up to a selected level.

    Args:
        backbone: A name in `torchvision.models.list_models()` that begins with resnet, resnext, wide_resnet or
            efficientnet.
        level: Index of the level that provides the grid. A level ends before the grid is halved: level i has stride 2
            to the power of i + 1, and -2 has stride 16. Later layers are removed.
        pretrained: Start from weights of torchvision, which are downloaded.
        frozen: Do not train the weights, nor update batch-norm statistics.
        weights: Name of the weights for `pretrained`, such as IMAGENET1K_V1.
        coordinates: Append the coordinates of each cell to its features, as two channels.

    Raises:
        ValueError: The backbone or its weights are unknown, or it has no such level.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        level: int = -2,
        pretrained: bool = False,
        frozen: bool = False,
        weights: str = "DEFAULT",
        coordinates: bool = False,
    ) -> None:
        known = [name for name in list_models() if name.startswith(FAMILIES)]
        if backbone not in known:
            raise ValueError(f"unknown torchvision backbone {backbone!r}{suggestion(backbone, known)}")
        published = get_model_weights(backbone).__members__
        if weights not in published:
            raise ValueError(f"{backbone!r} has no weights {weights!r}{suggestion(weights, published)}")
        self.name, self.level, self.pretrained, self.weights = backbone, level, pretrained, published[weights]
        layers = self._cut(get_model(backbone, weights=None))
        dim = [layer for layer in layers.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
        scale = self.weights.transforms()
        mean, std = tuple(scale.mean), tuple(scale.std)
        super().__init__(layers, dim, mean=mean, std=std, frozen=frozen, coordinates=coordinates)

    def encode(self, scaled: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw d"]:
        """Encode scaled images up to the selected level."""
        return self.backbone(scaled).permute(0, 2, 3, 1)

    def load_pretrained(self) -> None:
        """Load the weights that `pretrained` requests.

        Raises:
            ValueError: They cannot be downloaded.
        """
        if not self.pretrained:
            return
        model = get_model(self.name, weights=None)
        try:
            model.load_state_dict(self.weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
        except (OSError, RuntimeError) as error:
            cause = str(error).partition("\n")[0]
            raise ValueError(f"weights {self.weights} cannot be loaded ({cause}); set pretrained: false") from error
        self.backbone.load_state_dict(self._cut(model).state_dict())

    def origin(self) -> str | None:
        """Return the name of the published weights."""
        return f"{self.weights} (torchvision)" if self.pretrained else None

    def _cut(self, model: nn.Module) -> nn.Sequential:
        features = model.get_submodule("features") if hasattr(model, "features") else model
        levels: list[list[nn.Module]] = []
        for name, layer in features.named_children():
            if name in ("avgpool", "fc"):
                break
            if _halves(layer):
                levels.append([])
            levels[-1].append(layer)
        if not -len(levels) <= self.level < len(levels):
            raise ValueError(f"level is {self.level!r}, but {self.name!r} has -{len(levels)} to {len(levels) - 1}")
        return nn.Sequential(*chain.from_iterable(levels[: self.level % len(levels) + 1]))


def _halves(layer: nn.Module) -> bool:
    return any(getattr(part, "stride", 1) in (2, (2, 2)) for part in layer.modules())
