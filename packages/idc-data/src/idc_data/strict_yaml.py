"""YAML as specs are written in it: no key twice, `1e-4` is a number, and errors are one line."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def load_yaml(text: str, source: str) -> Any:
    """Read YAML 1.2 into plain values.

    Args:
        text: The document.
        source: Names it in errors.

    Raises:
        ValueError: It is not valid, is nested too deep, or a key comes twice; the line is named.
    """
    try:
        return YAML(typ="safe", pure=True).load(text.removeprefix("\ufeff"))
    except RecursionError:  # a spec is six deep; a traceback of a thousand lines would be as long
        raise ValueError(f"{source}: it is nested too deep to be read; expected sections with settings") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).split("\n")[0]
        if problem.startswith("found duplicate key"):
            problem = f"{problem.split(' with value')[0]}; give it once"
        raise ValueError(f"{source}{place}: {problem}") from error


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one value, given as `dotted.path=value` with a value in YAML.

    Raises:
        ValueError: It is not of this form, or a part of the path is a plain value.
    """
    path, found, text = override.partition("=")
    if not found or not all(path.split(".")):
        raise ValueError(f"override {override!r}: expected dotted.path=value, such as train.epochs=2")
    set_value(values, path, load_yaml(text, f"override {override!r}"))


def set_value(values: dict[str, Any], path: str, value: Any) -> None:
    """Set one value at a dotted path, making the sections on the way; sections that are shared are not changed.

    Raises:
        ValueError: A part of the path is a plain value.
    """
    keys = path.split(".")
    for depth, key in enumerate(keys[:-1]):
        below = values.get(key)
        if isinstance(below, str):  # `encoder: cnn` is short for `encoder: {name: cnn}`
            below = {"name": below}
        if below is not None and not isinstance(below, dict):
            raise ValueError(f"override of {path}: {'.'.join(keys[: depth + 1])} is {below!r} and has no parts")
        values[key] = dict(below or {})
        values = values[key]
    values[keys[-1]] = value
