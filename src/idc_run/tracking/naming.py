"""What runs are called: the spec, and the settings in which a run differs from others."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from idc_data.strict_yaml import load_yaml

from idc_run.address import mask

_ELSEWHERE = ("tracking", "register", "sweep", "train.device", "train.threads", "data.workers")
"""Settings of where and how a run is made, by which its scores do not differ."""

_MOST, _LONGEST = 4, 30
"""How many settings a name tells, and how many characters of each; the parameters tell all."""


def run_name(name: str, overrides: Sequence[str], before: Mapping[str, Any]) -> str:
    """Name a run by its spec and by what the command line changed: `transformer-concat, decoder gru, seed 2`.

    Args:
        name: Of the spec; if the command line gave it, it says enough.
        overrides: As `dotted.path=value`, valid ones.
        before: The spec's plain values without them.
    """
    given = {path: load_yaml(text, path) for path, _, text in (each.partition("=") for each in overrides)}
    if "name" in given:
        return name
    differ = {path: value for path, value in given.items() if not _elsewhere(path) and value != _at(before, path)}
    told = setting_names({path: _label(value) for path, value in differ.items()})
    return ", ".join([name, *told[:_MOST], *([f"{len(told) - _MOST} more"] if len(told) > _MOST else [])])


def setting_names(labels: Mapping[str, str]) -> list[str]:
    """Name settings by the last part of their path, `decoder gru`; a plugin's name stands for its section.

    Args:
        labels: Dotted path to value, as it is to be shown.
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
