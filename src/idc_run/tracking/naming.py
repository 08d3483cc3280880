"""The names of runs: the spec and the settings that differ from it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from idc_data.strict_yaml import load_yaml

from idc_run.address import mask

_ELSEWHERE = ("tracking", "register", "sweep", "train.device", "train.threads", "data.workers")
"""Settings that do not affect scores."""

_MOST, _LONGEST = 4, 30
"""Maximum number of settings in a name, and of characters of each."""


def run_name(name: str, overrides: Sequence[str], before: Mapping[str, Any]) -> str:
    """Name a run after its spec and the overrides: `transformer-concat, decoder gru, seed 2`.

    Args:
        name: The name of the spec; used alone if it was given as an override.
        overrides: Valid overrides `dotted.path=value`.
        before: The spec's plain values without the overrides.
    """
    given = {path: load_yaml(text, path) for path, _, text in (each.partition("=") for each in overrides)}
    if "name" in given:
        return name
    differ = {path: value for path, value in given.items() if not _elsewhere(path) and value != _at(before, path)}
    told = setting_names({path: _label(value) for path, value in differ.items()})
    return ", ".join([name, *told[:_MOST], *([f"{len(told) - _MOST} more"] if len(told) > _MOST else [])])


def setting_names(labels: Mapping[str, str]) -> list[str]:
    """Name settings by the last part of their path, such as `decoder gru`; a plugin's name stands for its section.

    Args:
        labels: Dotted path to displayed value.
    """
    return [f"{path.removesuffix('.name').rpartition('.')[2]} {label}" for path, label in labels.items()]


def _elsewhere(path: str) -> bool:
    return any(f"{path}.".startswith(f"{each}.") for each in _ELSEWHERE)


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _label(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("name") or ", ".join(map(str, value))
    if isinstance(value, list):
        value = " ".join(map(_label, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    told = mask(str(value))
    if len(told) > _LONGEST and PurePath(told).is_absolute():
        told = PurePath(told).name
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 1]}…"
