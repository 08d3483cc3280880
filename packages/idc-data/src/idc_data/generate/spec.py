"""The spec of a generation: one YAML file that says how a dataset is made."""

import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from idc_data.generate.ask import ENGINES
from idc_data.generate.caption import CAPTIONERS
from idc_data.generate.collect import COLLECTORS
from idc_data.generate.difference import WRITERS
from idc_data.generate.pair import PAIRERS
from idc_data.named import resolve
from idc_data.strict_yaml import apply_override, load_yaml
from idc_data.wording import faults

FILTERS = {"standard": "idc_data.generate.filters:Filters"}
"""Name -> class with the method `__call__(pairs, captioned, differences, asking) -> (rows of FILTERED, notes)`."""

STAGES = {
    "collect": COLLECTORS,
    "pair": PAIRERS,
    "caption": CAPTIONERS,
    "difference": WRITERS,
    "filter": FILTERS,
}
"""The stages, in order, each with its alternatives."""

_TABLES = {**STAGES, "engine": ENGINES}

_Part = Annotated[float, Field(ge=0, lt=1)]
_Named = str | dict[str, Any]


class SplitSpec(BaseModel):
    """Shares of the pairs for validation and test; the rest is for training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    val: _Part = 0.1
    test: _Part = 0.1
    seed: int = 0

    @model_validator(mode="after")
    def _some_are_left(self) -> "SplitSpec":
        if self.val + self.test >= 1:
            raise ValueError(f"val is {self.val} and test is {self.test}: their sum must be below 1, or none train")
        return self


class GenerateSpec(BaseModel):
    """How a dataset is made: one part per stage, by name and with settings.

    Attributes:
        name: Of the dataset.
        out: Its folder; stage files and answers are kept in `.stages` below it.
        collect: Where the images come from: `folder`, `list` or `dataset`.
        pair: Which of them are compared: `similar`, `given`, `consecutive`, `edited`, `folders` or `dataset`.
        caption: Where captions of the images come from: `blip` or `given`.
        difference: Who writes what changed: `rules`, `llm`, `openai` or `vlm`.
        filter: Which differences are kept.
        split: Shares of the pairs for validation and test.
        engine: Where models run: `local`, or `ray` for several processes and machines.
        limit: Use only so many pairs, the most similar ones first, for a trial.
        tracking: Where the finished dataset is recorded: `mlflow`, which the package idc-run brings, or `off`.
        license: Of the images, for the data card, such as cc-by-4.0.
        image_size: Width and height in pixels that both images are scaled and cropped to, about their middle; null
            keeps them as they are, for images that have one size already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    out: Path
    collect: _Named
    pair: _Named = "similar"
    caption: _Named = "blip"
    difference: _Named = "rules"
    filter: _Named = "standard"
    split: SplitSpec = SplitSpec()
    engine: _Named = "local"
    limit: PositiveInt | None = None
    tracking: str = "mlflow"
    license: str = ""
    image_size: Annotated[int, Field(ge=16)] | None = 256

    @field_validator("pair", "caption", "difference", "filter", "engine", mode="before")
    @classmethod
    def _settings_alone(cls, given: Any, info: ValidationInfo) -> Any:
        """Take settings without a name for those of the default."""
        assert info.field_name
        default = cls.model_fields[info.field_name].default
        return {"name": default, **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _parts_known(self) -> "GenerateSpec":
        for part in _TABLES:
            self.part(part)
        root = self.part("collect")[1].get("root")
        if root and self.out.resolve().is_relative_to(Path(root).resolve()):
            raise ValueError(
                f"out is {str(self.out)!r}, inside collect.root, {str(root)!r}: the next run would collect its images; "
                "choose a folder elsewhere"
            )
        return self

    def part(self, stage: str) -> tuple[type[Any], dict[str, Any]]:
        """Return the class of a stage, or of the engine, and its completed settings."""
        return resolve(stage, getattr(self, stage), _TABLES[stage])

    def settings(self, stage: str) -> dict[str, Any]:
        """Return name and completed settings of a stage, as plain values."""
        given = getattr(self, stage)
        name = given if isinstance(given, str) else given["name"]
        return {"name": name, **{key: _plain(value) for key, value in self.part(stage)[1].items()}}


def load_generate_spec(path: Path, overrides: tuple[str, ...] = ()) -> GenerateSpec:
    """Read a spec, apply `dotted.path=value` overrides, and check it.

    Parts of the form `package.module:Class` may be modules in the folder of the spec, or in the current folder.

    Raises:
        ValueError: It is not YAML, a key is unknown or comes twice, or a value has the wrong type.
        OSError: The file cannot be read.
    """
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)  # at the end, so that nothing there hides an installed module
    values = load_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected keys such as name, out, collect, pair; got {values!r}")
    for override in overrides:
        apply_override(values, override)
    try:
        return GenerateSpec.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {faults(error, GenerateSpec)}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
