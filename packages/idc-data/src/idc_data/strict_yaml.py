"""Reads YAML of specs: duplicate keys are errors, `1e-4` is a number, and error messages are one line."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def load_yaml(text: str, source: str) -> Any:
    """Read YAML 1.2 into plain values.

    Args:
        text: The document.
        source: Its name, for error messages.

    Raises:
        ValueError: It is invalid, nested too deeply, or has a duplicate key; the message names the line.
    """
    try:
        return YAML(typ="safe", pure=True).load(text.removeprefix("\ufeff"))
    except RecursionError:  # a spec has six levels
        raise ValueError(f"{source}: it is nested too deeply; expected sections with settings") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).split("\n")[0]
        if problem.startswith("found duplicate key"):
            problem = f"{problem.split(' with value')[0]}; give it only once"
        raise ValueError(f"{source}{place}: {problem}") from error


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one value, given as `dotted.path=value` with the value in YAML.

    Raises:
        ValueError: The override has another form, or a part of the path is a plain value.
    """
    path, found, text = override.partition("=")
    if not found or not all(path.split(".")):
        raise ValueError(f"override {override!r}: expected dotted.path=value, such as train.epochs=2")
    set_value(values, path, load_yaml(text, f"override {override!r}"))


def set_value(values: dict[str, Any], path: str, value: Any) -> None:
    """Set one value at a dotted path, creating sections as needed; shared sections are copied, not changed.

    Raises:
        ValueError: A part of the path is a plain value.
    """
    keys = path.split(".")
    for depth, key in enumerate(keys[:-1]):
        below = values.get(key)
        if isinstance(below, str):  # `encoder: cnn` is short for `encoder: {name: cnn}`
            below = {"name": below}
        if below is not None and not isinstance(below, dict):
            raise ValueError(f"override of {path}: {'.'.join(keys[: depth + 1])} is {below!r}, expected a section")
        values[key] = dict(below or {})
        values = values[key]
    values[keys[-1]] = value
