"""Vision towers of transformers as encoders: CLIP, SigLIP, DINOv2 and other plain vision transformers."""

import inspect
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from idc_data.hub import without_retries_logged
from jaxtyping import Float
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor

from idc_models.architecture import Architecture, library, read_architecture
from idc_models.contract import Grid
from idc_models.encoders.backbone import RGB, BackboneEncoder

_SMALL = {"model_type": "dinov2", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
          "image_size": 64, "patch_size": 16}  # fmt: skip


def read_scale(model: str) -> tuple[RGB, RGB]:
    """Read what the input of a vision model is scaled by: mean and deviation of each colour, of values in [0, 1].

    Args:
        model: A folder with `preprocessor_config.json`, or an id of the Hugging Face hub.

    Raises:
        ValueError: There is none.
    """
    file = Path(model) / "preprocessor_config.json"
    try:
        if Path(model).is_dir():
            plain = json.loads(file.read_text(encoding="utf-8"))
        else:
            with without_retries_logged():
                plain = library("transformers").AutoImageProcessor.from_pretrained(model).to_dict()
        mean, std = plain["image_mean"], plain["image_std"]
        return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))
    except Exception as error:  # the library raises what it likes
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"{model!r} does not say how its input is scaled (image_mean and image_std of preprocessor_config.json: "
            f"{cause}); set mean and std"
        ) from error


def _filled(scale: RGB | None, info: Any) -> RGB | None:
    model = info.data.get("model")
    return read_scale(model)[info.field_name == "std"] if scale is None and model is not None else scale


#: Mean or deviation of each colour; by default that of a setting `model` that comes before it.
Scale = Annotated[RGB | None, AfterValidator(_filled), Field(validate_default=True)]


class HfVisionEncoder(BackboneEncoder):
    """Encodes with a vision transformer of transformers; its patches are the cells of the grid.

    Of a model of images and text, such as CLIP or SigLIP, the vision tower is taken. Class and register tokens are
    left out. Images of another size than the model was trained on are taken as they are, its positions interpolated;
    their sides have to be multiples of the patch's. Without a `model` it is a small DINOv2 with random weights.

    Args:
        model: A folder of transformers, or an id of the hub.
        config: The architecture, as in its `config.json`; by default it is read there.
        layers: How many of its layers are used; None is all of them, with the norm behind the last. What comes after is
            cut off: 23 of the 24 layers of CLIP ViT-L/14 are what LLaVA sees with.
        frozen: Keep the weights as they are.
        mean: Of each colour in [0, 1]; by default what the model's preprocessor_config.json says.
        std: Of each colour, likewise.
        coordinates: Append where each cell is to the grid, as two channels.

    Raises:
        ValueError: The library is missing, the model cannot be had or has no such vision transformer.
    """

    libraries: ClassVar[tuple[str, ...]] = ("transformers",)

    def __init__(
        self,
        *,
        model: str | None = None,
        config: Architecture = None,
        layers: PositiveInt | None = None,
        frozen: bool = True,
        mean: Scale = None,
        std: Scale = None,
        coordinates: bool = False,
    ) -> None:
        self.model, self.layers = model, layers
        plain = dict(config or (read_architecture(model) if model else _SMALL))
        tower = _tower(plain, layers)
        if model and (mean is None or std is None):
            scale = read_scale(model)
            mean, std = mean or scale[0], std or scale[1]
        half = (0.5, 0.5, 0.5)
        self.patch: int = tower.config.patch_size
        super().__init__(
            tower, tower.config.hidden_size, mean=mean or half, std=std or half,
            frozen=frozen and model is not None, coordinates=coordinates,
        )  # fmt: skip
        self.interpolates = "interpolate_pos_encoding" in inspect.signature(tower.forward).parameters

    def encode(self, scaled: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encode scaled images.

        Raises:
            ValueError: Their sides are no multiples of the patch's.
        """
        height, width = (side // self.patch for side in scaled.shape[2:])
        if (height * self.patch, width * self.patch) != tuple(scaled.shape[2:]):
            raise ValueError(
                f"images are {tuple(scaled.shape[2:])} pixels, but the patches of {self.model!r} have {self.patch} a "
                f"side; set data.image_size to a multiple of {self.patch}"
            )
        more: dict[str, Any] = {"interpolate_pos_encoding": True} if self.interpolates else {}
        seen = self.backbone(pixel_values=scaled, output_hidden_states=self.layers is not None, **more)
        tokens = seen.last_hidden_state if self.layers is None else seen.hidden_states[-1]
        return tokens[:, -height * width :].unflatten(1, (height, width))

    @torch.no_grad()
    def load_pretrained(self) -> None:
        """Load the weights of `model`.

        Raises:
            ValueError: They cannot be had, or are of another architecture.
        """
        if self.model is None:
            return
        if Path(self.model).is_absolute() and not Path(self.model).is_dir():
            raise ValueError(f"there is no folder {self.model!r}, which held the vision model")
        try:
            with without_retries_logged():
                whole = library("transformers").AutoModel.from_pretrained(self.model, dtype=torch.float32)
        except Exception as error:  # the library raises what it likes
            cause = " ".join(str(error).split())[:300]
            raise ValueError(f"the weights of the vision model {self.model!r} cannot be had ({cause})") from error
        theirs = getattr(whole, "vision_model", whole).state_dict()
        for name, value in self.backbone.state_dict().items():
            if name not in theirs or theirs[name].shape != value.shape:
                raise ValueError(f"{self.model!r} has other weights than its config says, such as {name}")
            value.copy_(theirs[name])

    def origin(self) -> str | None:
        """Name the model."""
        return self.model


def _tower(plain: dict[str, Any], layers: int | None) -> Any:
    """Make the vision transformer of an architecture, without what is behind its patches."""
    transformers, plain = library("transformers"), dict(plain)
    if "vision_config" in plain:
        inner = dict(plain["vision_config"])
        plain = {"model_type": f"{plain['model_type']}_vision_model", **inner}
    if plain.get("model_type") == "siglip_vision_model":
        plain["vision_use_head"] = False
    try:
        config = transformers.AutoConfig.for_model(**{key: value for key, value in plain.items() if key != "dtype"})
        has = config.num_hidden_layers
        if layers is not None and layers > has:
            raise ValueError(f"layers is {layers!r}, but the model has {has}")
        config.num_hidden_layers = layers or has
        if not isinstance(getattr(config, "patch_size", None), int):  # before a language model takes all memory
            raise ValueError("it has no patch_size, or one that is no number of pixels")
        tower = transformers.AutoModel.from_config(config, dtype=torch.float32)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{plain.get('model_type')!r} is no vision transformer that can be used here ({cause})"
        ) from error
    for name, parameter in tower.named_parameters():
        if (
            any(part in name for part in _BEHIND)
            or layers is not None
            and name.startswith(("layernorm.", "norm.", "post_"))
        ):
            parameter.requires_grad_(False)  # nothing that is computed here hangs on it
    if plain["model_type"] == "clip_vision_model":
        tower.post_layernorm.requires_grad_(False)
    return tower


_BEHIND = ("mask_token", "pooler.")
"""Of parameters that patches do not hang on."""
