"""The search space of a sweep: dotted paths of the spec, each with its possible values."""

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
    """Anything that chooses values: an Optuna trial or a `Probe`."""

    @property
    def params(self) -> dict[str, Any]:
        """The values chosen so far, by name."""
        ...

    @property
    def suggest_categorical(self) -> Callable[..., Any]:
        """Choose one item of a list."""
        ...

    @property
    def suggest_int(self) -> Callable[..., Any]:
        """Choose an integer."""
        ...

    @property
    def suggest_float(self) -> Callable[..., Any]:
        """Choose a float."""
        ...


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; integers if both ends are.

    Attributes:
        low: Lower end.
        high: Upper end.
        log: Sample uniformly in log space, for values of several orders of magnitude.
        step: Distance between neighbouring values; required for a grid.
        when: Search only if other paths have these values, chosen by the trial or set in the spec. A plugin's name
            stands for its section, and the name of a choice for the choice.
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
    """One of several values. A value that is a section, such as a whole plugin, may contain ranges and choices.

    Attributes:
        choices: The values, or a mapping from descriptive names to values.
        when: As for `Range`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: Annotated[list[Any] | dict[str, Any], Field(min_length=1)]
    when: dict[str, Any] = {}


class Together(BaseModel):
    """Several paths that change together, under a name that is not a path of the spec, such as `method`.

    Attributes:
        together: For each name, the values of paths; no other entry of the space may set these paths.
        when: As for `Range`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    together: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    when: dict[str, Any] = {}

    @property
    def paths(self) -> list[str]:
        """The paths that any of the names sets."""
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
"""An entry of the space: `[a, b]` for a choice, `{choices: ...}`, `{together: ...}`, or `{low: ..., high: ...}`."""

Space = Annotated[dict[str, Node], Field(min_length=1)]


def draw(space: Mapping[str, Node], trial: Chooser, base: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Let a trial choose a value for each path whose condition holds.

    Args:
        space: The search space; conditions may refer to earlier paths.
        trial: Chooses the values.
        base: The completed spec's plain values, to which conditions may refer, too.
    """
    values: dict[str, Any] = {}
    for path, node in space.items():
        if all(_is(trial, with_values(base, values), *each) for each in conditions(node).items()):
            found = _draw(node, path, trial)
            values |= found if isinstance(node, Together) else {path: found}
    return values


def conditions(node: Any) -> dict[str, Any]:
    """Return the condition of an entry: the required value of each path."""
    return {} if isinstance(node, list) else node.when


def sets(path: str, node: Any) -> list[str]:
    """Return the paths of the spec that an entry of the space sets."""
    return node.paths if isinstance(node, Together) else [path]


def options(space: Mapping[str, Node]) -> Iterator[tuple[str, Any]]:
    """Yield every choice and both ends of every range, each with the name of its parameter.

    Raises:
        ValueError: Two choices have the same label, or a range inside a choice is invalid.
    """
    for path, node in space.items():
        yield from _ends(node, path)


def cells(space: Mapping[str, Node]) -> Iterator[dict[str, Any]]:
    """Yield every combination of a grid, as the parameters of a trial.

    Raises:
        ValueError: A range has no step, an entry has a condition, or there are too many combinations.
    """
    parts = [list(_cells(node, path)) for path, node in space.items()]
    if (count := prod(map(len, parts))) > _MOST_CELLS:
        raise ValueError(
            f"the grid has {count:,} cells; expected at most {_MOST_CELLS:,}; for a larger space use sampler tpe or "
            "random"
        )
    for combination in product(*parts):
        yield {name: value for part in combination for name, value in part.items()}


def with_values(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's plain values with some paths set."""
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
        raise ValueError(
            f"{name} has the condition {node.when}, which a grid does not allow; use sampler tpe or random"
        )
    if isinstance(node, Range):
        if node.step is None:
            raise ValueError(
                f"{name}, from {node.low} to {node.high}, has no step; a grid needs one, or a list of values"
            )
        low, high, step = (Decimal(str(number)) for number in (node.low, node.high, node.step))
        number = int if node.whole else float
        yield from ({name: number(low + step * index)} for index in range(int((high - low) / step) + 1))
        return
    for label, option in _options(node).items():
        inner = list(_searched(option, f"{name}={label}"))
        for combination in product(*(list(_cells(found, path)) for _, path, found in inner)):
            yield {name: label} | {key: value for part in combination for key, value in part.items()}


def _searched(option: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the ranges and choices inside a section: key, parameter name and entry."""
    for key, value in option.items() if isinstance(option, dict) else ():
        found = Choice if isinstance(value, dict) and "choices" in value else Range
        if found is Choice or (isinstance(value, dict) and {"low", "high"} <= value.keys()):
            if "when" in value:
                raise ValueError(
                    f"{name}.{key} has a condition inside a choice; only top-level entries of the space may have one"
                )
            try:
                yield key, f"{name}.{key}", found.model_validate(value)
            except ValidationError as error:
                raise ValueError(f"{name}.{key}: {faults(error, found)}") from error


def _options(node: Any) -> dict[Any, Any]:
    """Return the options of a choice by the label that trials store: a name, a plain value, or a section's name."""
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
        if label in labels:  # true equals 1 in Python
            raise ValueError(f"two choices have the same label {label!r}; name them: {{choices: {{NAME: value, ...}}}}")
        labels[label] = option
    return labels
