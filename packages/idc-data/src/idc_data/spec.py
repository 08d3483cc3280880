"""The data section of an experiment's spec."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Flip = bool | Literal["safe"]
_Part = Annotated[float, Field(ge=0, lt=1)]


class FeatureFolder(BaseModel):
    """Precomputed features.

    Attributes:
        folder: Their folder, with one `.npy` file per image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path


def _one_kind(given: Any) -> Any:
    """Validate `features` with one message, where pydantic would report an error for each type of the union."""
    if given in (None, "cache") or isinstance(given, FeatureFolder):
        return given
    if isinstance(given, dict) and given.keys() == {"folder"} and isinstance(given["folder"], str | Path):
        return FeatureFolder(folder=Path(given["folder"]))
    raise ValueError(f"it is {given!r}, expected cache, or {{folder: PATH}} with a .npy file for each image")


class DataSpec(BaseModel):
    """Which pairs to read and how to batch them.

    Attributes:
        dataset: The name of a reader (`scenes`), the path of a folder in the project's own layout, or a mapping with
            the `name` of either and its settings. See `idc_data.readers.resolve_reader`.
        image_size: Height and width, in pixels, to which images are scaled for the model.
        batch_size: Pairs per batch (and per process, in distributed training).
        workers: Processes that prepare batches; 0 prepares them in the training process.
        captions_per_pair: Number of references of a pair to learn from in one training step.
        flip: Mirror half of the training pairs. Refused if captions mention left and right, east and west or rotation,
            or their language is not supported (see `idc_data.sides`). `safe` means that you know no caption does.
        crop: Maximum share of width and height that a random crop removes.
        color_jitter: Maximum relative change of brightness and contrast, independently for each side.
        max_length: Maximum number of tokens of a caption, including bos and eos. With the tokenizer `words`, tokens are
            words, or characters in scripts without spaces such as Chinese.
        triplets: Train on the changed pair and the distractor of a scene in one batch, and in half of the cases use the
            distractor's image as before image of both, as methods for CLEVR-Change do.
        features: `cache` computes the grids of a frozen encoder once per distinct image, and reads them in every epoch,
            as half-precision numbers from `mlruns/features`. `{folder: PATH}` uses precomputed features instead of the
            images: a `.npy` file for each image (see `idc_data.feature_folder`).
        tokenizer: How captions become tokens: `words`, `bpe`, `hf` or another installed name, `package.module:Class`,
            or a mapping with the `name` of any and its settings. See `idc_data.tokenizers.resolve_tokenizer`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str | dict[str, Any] = "scenes"
    image_size: int = Field(default=64, ge=8, le=4096)
    batch_size: int = Field(default=64, ge=1)
    workers: int = Field(default=1, ge=0)
    captions_per_pair: int = Field(default=1, ge=1)
    flip: Flip = False
    crop: _Part = 0.0
    color_jitter: _Part = 0.0
    max_length: int = Field(default=40, ge=3, le=4096)
    tokenizer: str | dict[str, Any] = "words"
    triplets: bool = False
    features: Annotated[Literal["cache"] | FeatureFolder | None, BeforeValidator(_one_kind)] = None

    @model_validator(mode="after")
    def _features_stay(self) -> "DataSpec":
        for name in ("flip", "crop", "color_jitter"):
            if self.features and (value := getattr(self, name)):
                given = "cache" if self.features == "cache" else self.features.model_dump(mode="json")
                raise ValueError(
                    f"features is {given!r} and {name} is {value!r}, but precomputed features cannot be augmented: "
                    f"remove {name} or features"
                )
        return self

    @model_validator(mode="after")
    def _scenes_are_whole(self) -> "DataSpec":
        if self.triplets and self.batch_size % 2:
            raise ValueError(
                f"triplets is true and batch_size is {self.batch_size!r}, but a scene has two pairs: expected an even "
                "batch_size"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, given: Any) -> Any:
        """Move `min_frequency`, which specs of older versions have here, to the settings of the tokenizer `words`."""
        if not isinstance(given, dict) or "min_frequency" not in given:
            return given
        given = dict(given)
        least, tokenizer = given.pop("min_frequency"), given.get("tokenizer", "words")
        if least != 1 or isinstance(least, bool):
            named = {"name": tokenizer} if isinstance(tokenizer, str) else dict(tokenizer)
            given["tokenizer"] = named | {"min_frequency": least}
        return given
