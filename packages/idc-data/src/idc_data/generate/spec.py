"""The spec of a generation: one YAML file that says how a dataset is made."""

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
    """Which part of the pairs goes where; the rest is for training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    val: _Part = 0.1
    test: _Part = 0.1
    seed: int = 0


class GenerateSpec(BaseModel):
    """How a dataset is made: one part per stage, by name and with settings.

    Attributes:
        name: Of the dataset.
        out: Its folder; what the stages made is kept in `.stages` below it.
        collect: Which images there are: `folder`, `list` or `dataset`.
        pair: Which of them are compared: `similar`, `given`, `consecutive`, `edited`, `folders` or `dataset`.
        caption: What each shows: `blip` or `given`.
        difference: What changed: `rules`, `llm`, `openai` or `vlm`.
        filter: Which differences are kept.
        split: Which part of the pairs goes where.
        engine: Who runs the models: `local`, or `ray` for several processes and machines.
        limit: Only so many pairs, the most similar ones first, to try it out.
        tracking: Who is told of the finished dataset: `mlflow`, which the package idc-run brings, or `off`.
        license: Of the images, for the data card, such as cc-by-4.0.
        image_size: Both images of a pair are scaled and cropped about their middle to squares of so many pixels; null
            keeps them as they are, for images that are of one size already.
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
        """Settings without a name are those of the default."""
        assert info.field_name
        default = cls.model_fields[info.field_name].default
        return {"name": default, **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _parts_known(self) -> "GenerateSpec":
        for part in _TABLES:
            self.part(part)
        return self

    def part(self, stage: str) -> tuple[type[Any], dict[str, Any]]:
        """Gives the class of a stage, or of the engine, and its settings, completed."""
        return resolve(stage, getattr(self, stage), _TABLES[stage])

    def settings(self, stage: str) -> dict[str, Any]:
        """Gives name and completed settings of a stage, as plain values."""
        given = getattr(self, stage)
        name = given if isinstance(given, str) else given["name"]
        return {"name": name, **{key: _plain(value) for key, value in self.part(stage)[1].items()}}


def load_generate_spec(path: Path, overrides: tuple[str, ...] = ()) -> GenerateSpec:
    """Read a spec, apply `dotted.path=value` overrides, and check it.

    Raises:
        ValueError: It is no YAML, a key is unknown or comes twice, or a value is of the wrong kind.
        OSError: The file cannot be read.
    """
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
