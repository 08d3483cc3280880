"""Where a sweep searches: dotted paths of the spec, each with the values that it may have."""

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Annotated, Any, Protocol, runtime_checkable

from idc_data.strict_yaml import set_value
from idc_data.wording import faults
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

_MOST_CELLS = 100_000
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class Chooser(Protocol):
    """What draws: a trial of Optuna's, or a `Probe`."""

    @property
    def params(self) -> dict[str, Any]:
        """What was drawn so far, by name."""
        ...

    @property
    def suggest_categorical(self) -> Callable[..., Any]:
        """Draws one of a list."""
        ...

    @property
    def suggest_int(self) -> Callable[..., Any]:
        """Draws a whole number."""
        ...

    @property
    def suggest_float(self) -> Callable[..., Any]:
        """Draws a number."""
        ...


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; whole ones if both ends are.

    Attributes:
        low: The least.
        high: The most.
        log: Draw the logarithm, for values of several orders of magnitude.
        step: Distance of neighbours; a grid needs one.
        when: Search only where other paths have these values: as they were drawn, or as the spec has them. A plugin's
            name stands for its section, and the name of a choice for the choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    when: dict[str, Any] = {}

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        step = self.step is None or self.step > 0
        if self.low >= self.high or not step or (self.log and (self.low <= 0 or self.step is not None)):
            raise ValueError(
                f"low {self.low}, high {self.high}, log {self.log}, step {self.step}: expected low < high, above 0 "
                "with log, a step above 0, and not both log and step"
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
        when: As of a range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: Annotated[list[Any] | dict[str, Any], Field(min_length=1)]
    when: dict[str, Any] = {}


class Together(BaseModel):
    """Several paths that change at once, under a name that is no path of the spec, such as `method`.

    Attributes:
        together: Name to the values of paths, which no other part of the space may set.
        when: As of a range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    together: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    when: dict[str, Any] = {}

    @property
    def paths(self) -> list[str]:
        """All paths that any of the names sets."""
        return list(dict.fromkeys(path for values in self.together.values() for path in values))


def _kind(given: Any) -> str:
    if isinstance(given, list):
        return "list"
    if isinstance(given, Together) or (isinstance(given, dict) and "together" in given):
        return "together"
    return "choice" if isinstance(given, Choice) or (isinstance(given, dict) and "choices" in given) else "range"


Node = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[Together, Tag("together")]
    | Annotated[list[Any], Field(min_length=1), Tag("list")],
    Discriminator(_kind),
]
"""What a path may be: `[a, b]` for a choice, `{choices: ...}`, `{together: ...}`, or `{low: ..., high: ...}`."""

Space = Annotated[dict[str, Node], Field(min_length=1)]


def draw(space: Mapping[str, Node], trial: Chooser, base: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Let a trial choose a value for each path whose condition holds.

    Args:
        space: Where it searches; conditions see the paths before their own.
        trial: What chooses.
        base: A spec's plain values, completed, which conditions see too.
    """
    values: dict[str, Any] = {}
    for path, node in space.items():
        if all(_is(trial, with_values(base, values), *each) for each in conditions(node).items()):
            found = _draw(node, path, trial)
            values |= found if isinstance(node, Together) else {path: found}
    return values


def conditions(node: Any) -> dict[str, Any]:
    """What has to hold where this is searched: path to value."""
    return {} if isinstance(node, list) else node.when


def sets(path: str, node: Any) -> list[str]:
    """The paths of the spec that a part of the space sets."""
    return node.paths if isinstance(node, Together) else [path]


def options(space: Mapping[str, Node]) -> Iterator[tuple[str, Any]]:
    """Every choice and both ends of every range, each with the name of its parameter.

    Raises:
        ValueError: Two choices cannot be told apart, or a range inside of one is none.
    """
    for path, node in space.items():
        yield from _ends(node, path)


def cells(space: Mapping[str, Node]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid, as the parameters of a trial.

    Raises:
        ValueError: A range has no step, a condition makes cells unequal, or there are too many.
    """
    parts = [list(_cells(node, path)) for path, node in space.items()]
    if (count := prod(map(len, parts))) > _MOST_CELLS:
        raise ValueError(
            f"the grid has {count:,} cells; expected at most {_MOST_CELLS:,}, or the sampler tpe or random"
        )
    for combination in product(*parts):
        yield {name: value for part in combination for name, value in part.items()}


def with_values(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A spec's plain values with some paths set."""
    given = {key: value for key, value in values.items() if key != "sweep"}
    for path, value in chosen.items():
        set_value(given, path, value)
    return given


def _is(trial: Chooser, values: Mapping[str, Any], path: str, wanted: Any) -> bool:
    found: Any = values
    for key in path.split("."):
        found = {"name": found} if isinstance(found, str) else found
        found = found.get(key) if isinstance(found, Mapping) else None
    named = found.get("name") if isinstance(found, Mapping) else found
    return wanted in (found, named, trial.params.get(path, found))


def _draw(node: Any, name: str, trial: Chooser) -> Any:
    if isinstance(node, Range):
        step = {} if node.step is None else {"step": node.step}
        ends: Any = {"low": node.low, "high": node.high, "log": node.log} | step
        return trial.suggest_int(name, **ends) if node.whole else trial.suggest_float(name, **ends)
    options = _options(node)
    label = trial.suggest_categorical(name, list(options))
    option = options[label]
    inner = {key: _draw(found, path, trial) for key, path, found in _searched(option, f"{name}={label}")}
    return option | inner if inner else option


def _ends(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Range):
        yield from ((name, node.low), (name, node.high))
        return
    for label, option in _options(node).items():
        yield name, label
        for _, path, found in _searched(option, f"{name}={label}"):
            yield from _ends(found, path)


def _cells(node: Any, name: str) -> Iterator[dict[str, Any]]:
    if conditions(node):
        raise ValueError(f"a grid has no conditions, {name} has: {node.when}; use the sampler tpe or random")
    if isinstance(node, Range):
        if node.step is None:
            raise ValueError(f"a grid needs the step of {name}, from {node.low} to {node.high}; or list its values")
        low, high, step = (Decimal(str(number)) for number in (node.low, node.high, node.step))
        number = int if node.whole else float
        yield from ({name: number(low + step * index)} for index in range(int((high - low) / step) + 1))
        return
    for label, option in _options(node).items():
        inner = list(_searched(option, f"{name}={label}"))
        for combination in product(*(list(_cells(found, path)) for _, path, found in inner)):
            yield {name: label} | {key: value for part in combination for key, value in part.items()}


def _searched(option: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """The ranges and choices inside a section: key, the name of the parameter, and what to search."""
    for key, value in option.items() if isinstance(option, dict) else ():
        found = Choice if isinstance(value, dict) and "choices" in value else Range
        if found is Choice or (isinstance(value, dict) and {"low", "high"} <= value.keys()):
            if "when" in value:
                raise ValueError(
                    f"{name}.{key} has a condition; only paths of the space may, not what is inside a choice"
                )
            try:
                yield key, f"{name}.{key}", found.model_validate(value)
            except ValidationError as error:
                raise ValueError(f"{name}.{key}: {faults(error, found)}") from error


def _options(node: Any) -> dict[Any, Any]:
    """The options of a choice by the label that a trial stores: a given name, a plain value, or a section's name."""
    if isinstance(node, Together):
        return node.together
    given = node if isinstance(node, list) else node.choices
    if isinstance(given, dict):
        return given
    names = [option.get("name") for option in given if isinstance(option, dict)]
    labels = {}
    for option in given:
        label = option
        if isinstance(option, dict) and option.get("name") and names.count(option["name"]) == 1:
            label = option["name"]
        elif isinstance(option, dict | list):
            label = json.dumps(option, sort_keys=True)
        if label in labels:  # to Python, true is 1
            raise ValueError(f"two of the choices are called {label!r}; name them: {{choices: {{NAME: value, ...}}}}")
        labels[label] = option
    return labels
