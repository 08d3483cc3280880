"""Where a sweep searches: dotted paths of the spec, each with the values that it may have."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

from idc_data.strict_yaml import set_value
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; whole ones if both ends are.

    Attributes:
        low: The least.
        high: The most.
        log: Draw the logarithm, for values of several orders of magnitude.
        step: Distance of neighbours; a grid needs one.
        when: Search only where other paths have these values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    when: dict[str, Any] = {}

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0) or (self.log and self.step is not None):
            raise ValueError(
                f"low {self.low}, high {self.high}, log {self.log}, step {self.step}: expected low < high, above 0 "
                "with log, and not both log and step"
            )
        return self

    @property
    def whole(self) -> bool:
        """Whether the numbers are integers."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))


class Choice(BaseModel):
    """One of several values. A section of settings, such as a whole plugin, may have ranges and choices inside.

    Attributes:
        choices: The values; or name to value, where a name says more than the value does.
        when: Search only where other paths have these values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: Annotated[list[Any] | dict[str, Any], Field(min_length=1)]
    when: dict[str, Any] = {}


def _kind(given: Any) -> str:
    if isinstance(given, list):
        return "list"
    return "choice" if isinstance(given, Choice) or (isinstance(given, dict) and "choices" in given) else "range"


Node = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[list[Any], Field(min_length=1), Tag("list")],
    Discriminator(_kind),
]
"""What a path may be: `[a, b]` for a choice, `{choices: ...}`, or `{low: ..., high: ...}`."""

Space = Annotated[dict[str, Node], Field(min_length=1)]


def draw(space: Mapping[str, Node], trial: "BaseTrial") -> dict[str, Any]:
    """Let a trial choose a value for each path whose condition holds."""
    values: dict[str, Any] = {}
    for path, node in space.items():
        if _holds(node, values):
            values[path] = _draw(node, path, trial)
    return values


def cells(space: Mapping[str, Node]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid, as the parameters of a trial.

    Raises:
        ValueError: A range has no step, or a condition makes cells unequal.
    """
    parts = [list(_cells(node, path)) for path, node in space.items()]
    for combination in product(*parts):
        yield {name: value for part in combination for name, value in part.items()}


def with_values(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A spec's plain values with some paths set."""
    given = {key: value for key, value in values.items() if key != "sweep"}
    for path, value in chosen.items():
        set_value(given, path, value)
    return given


def _holds(node: Any, values: Mapping[str, Any]) -> bool:
    return isinstance(node, list) or all(values.get(path) == wanted for path, wanted in node.when.items())


def _draw(node: Any, name: str, trial: "BaseTrial") -> Any:
    if isinstance(node, Range):
        step = {} if node.step is None else {"step": node.step}
        ends: Any = {"low": node.low, "high": node.high, "log": node.log} | step
        return trial.suggest_int(name, **ends) if node.whole else trial.suggest_float(name, **ends)
    options = _options(node)
    label = trial.suggest_categorical(name, list(options))
    option = options[label]
    inner = {key: _draw(found, path, trial) for key, path, found in _searched(option, f"{name}={label}")}
    return option | inner if inner else option


def _cells(node: Any, name: str) -> Iterator[dict[str, Any]]:
    if isinstance(node, Range):
        if node.step is None:
            raise ValueError(f"a grid needs the step of {name}, from {node.low} to {node.high}; or list its values")
        num = int((node.high - node.low) / node.step + 1e-9)
        yield from ({name: node.low + node.step * index} for index in range(num + 1))
        return
    if not isinstance(node, list) and node.when:
        raise ValueError(f"a grid has no conditions, {name} has: {node.when}; use the sampler tpe or random")
    for label, option in _options(node).items():
        inner = list(_searched(option, f"{name}={label}"))
        for combination in product(*(list(_cells(found, path)) for _, path, found in inner)):
            yield {name: label} | {key: value for part in combination for key, value in part.items()}


def _searched(option: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """The ranges and choices inside a section: key, the name of the parameter, and what to search."""
    for key, value in option.items() if isinstance(option, dict) else ():
        if isinstance(value, dict) and "choices" in value:
            yield key, f"{name}.{key}", Choice.model_validate(value)
        elif isinstance(value, dict) and {"low", "high"} <= value.keys():
            yield key, f"{name}.{key}", Range.model_validate(value)


def _options(node: Any) -> dict[Any, Any]:
    """The options of a choice by the label that a trial stores: a given name, a plain value, or a section's name."""
    options = node if isinstance(node, list) else node.choices
    if isinstance(options, dict):
        return options
    names = [option.get("name") for option in options if isinstance(option, dict)]
    labels = {}
    for option in options:
        label = option
        if isinstance(option, dict) and option.get("name") and names.count(option["name"]) == 1:
            label = option["name"]
        elif isinstance(option, dict | list):
            label = json.dumps(option, sort_keys=True)
        labels[label] = option
    return labels
