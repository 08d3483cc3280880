"""The `model:` section of a spec, and the model built from it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from idc_models.registry import find, names, validate

if TYPE_CHECKING:
    from idc_models.captioner import Captioner
    from idc_models.contract import TokenSpace

#: The parts of a model, by the names of `Captioner`'s attributes.
PartName = Literal["encoder", "fusion", "decoder", "objectives"]


class Choice(BaseModel):
    """The name of a plugin, together with its settings."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


PartSpec = Annotated[Choice, BeforeValidator(lambda given: {"name": given} if isinstance(given, str) else given)]


class ModelSpec(BaseModel):
    """The encoder, fusion and decoder of a model: each a name, or a name with settings.

    Names and settings are validated against the installed plugins.

    Raises:
        pydantic.ValidationError: A name or a setting is unknown, a setting has the wrong type, or the decoder needs
            another number of memory slots than the fusion has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: PartSpec
    fusion: PartSpec
    decoder: PartSpec

    @model_validator(mode="after")
    def _known(self) -> "ModelSpec":
        for kind, part in self:
            validate(kind, part.name, part.settings)
        slots = getattr(find("decoder", self.decoder.name), "slots", None)
        if slots is not None and getattr(find("fusion", self.fusion.name), "slots", None) != slots:
            raise ValueError(
                f"decoder {self.decoder.name!r} needs a memory of {slots} slots, but fusion {self.fusion.name!r} makes "
                f"another; choose another decoder, or a fusion of: {', '.join(_fusions_of(slots)) or '(none fits)'}"
            )
        return self

    def completed(self) -> "ModelSpec":
        """Return the same spec with every default filled in."""
        return ModelSpec.model_validate(
            {
                kind: {"name": part.name, **validate(kind, part.name, part.settings).model_dump(mode="json")}
                for kind, part in self
            }
        )


def _fusions_of(slots: int) -> list[str]:
    """List the installed fusions whose memory has this number of slots."""
    fitting = []
    for name in names("fusion"):
        with suppress(ValueError):  # a broken plugin fits nothing
            if getattr(find("fusion", name), "slots", None) == slots:
                fitting.append(name)
    return fitting


def complete_objectives(objectives: Mapping[str, float | Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the objectives with every default filled in: name -> {weight, settings}.

    Args:
        objectives: Name -> weight, or name -> {weight, settings}.

    Raises:
        ValueError: A name or setting is unknown, a weight is missing or negative, or no weight is above 0.
    """
    completed = {}
    for name, given in objectives.items():
        settings = dict(given) if isinstance(given, Mapping) else {"weight": given}
        weight = settings.pop("weight", None)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            raise ValueError(f"objective {name!r}: its weight is {weight!r}; expected a number, 0 or above")
        completed[name] = {"weight": float(weight), **validate("objective", name, settings).model_dump(mode="json")}
    if not any(settings["weight"] for settings in completed.values()):
        raise ValueError(f"objectives are {dict(objectives)!r}: expected at least one with a weight above 0")
    return completed


def build_captioner(
    spec: ModelSpec,
    vocab: "TokenSpace",
    objectives: Mapping[str, float | Mapping[str, Any]] | None,
    *,
    pretrained: bool = True,
) -> "Captioner":
    """Build the model that a spec describes.

    Args:
        spec: The encoder, the fusion and the decoder.
        vocab: The tokens of its captions.
        objectives: Name -> weight, or name -> {weight, settings}; None for a model that is not trained.
        pretrained: False skips pre-trained weights, because a checkpoint is loaded next.

    Raises:
        ValueError: A setting does not fit this model, or pre-trained weights cannot be loaded.
    """
    from idc_models.captioner import Captioner
    from idc_models.contract import Widths

    def construct(kind: str, choice: Choice, *wired: object) -> Any:
        return find(kind, choice.name)(*wired, **dict(validate(kind, choice.name, choice.settings)))

    completed = {} if objectives is None else complete_objectives(objectives)
    weights = {name: settings.pop("weight") for name, settings in completed.items()}
    encoder = construct("encoder", spec.encoder)
    fusion = construct("fusion", spec.fusion, encoder.dim)
    decoder = construct("decoder", spec.decoder, fusion.memory_dim, vocab)
    parts = {}
    if completed:
        if not hasattr(decoder, "state_dim"):
            raise ValueError(
                f"decoder {spec.decoder.name!r} has no state_dim, the width of its states; set it in __init__"
            )
        widths = Widths(encoder.dim, fusion.memory_dim, decoder.state_dim)
        parts = {
            name: construct("objective", Choice(name=name, **settings), widths, vocab)
            for name, settings in completed.items()
        }
    captioner = Captioner(encoder, fusion, decoder, parts, weights)
    if pretrained:
        captioner.load_pretrained()
    return captioner
