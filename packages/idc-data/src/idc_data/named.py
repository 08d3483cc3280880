"""Resolves parts of a spec: an installed name or `package.module:Class`, with validated settings."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from idc_data.wording import faults, suggestion

PLUGIN = r"[\w.]+:\w+"
"""`package.module:Class`."""


def resolve(
    kind: str,
    given: str | Mapping[str, Any],
    table: Mapping[str, str],
    *,
    base: type[Any] | None = None,
    made_by: str | None = None,
) -> tuple[type[Any], dict[str, Any]]:
    """Return the class of a part of a spec and its validated settings, with defaults filled in.

    It creates no instance. The keyword-only parameters of the constructor are the schema.

    Args:
        kind: What the part is, for error messages.
        given: A name, or `{"name": name, setting: value, ...}`.
        table: Name -> `package.module:Class`. Other names must be of the latter form; their module may be in the
            current folder.
        base: The class that the part must extend.
        made_by: The class method that takes the settings, if not the constructor.

    Raises:
        ValueError: The name or a setting is unknown or of the wrong type; the message suggests the nearest known one.
    """
    values = {"name": given} if isinstance(given, str) else dict(given)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"{kind} is {given!r}, expected a name or a mapping with a name and settings")
    target = table.get(name, name)
    if not re.fullmatch(PLUGIN, target):
        raise ValueError(f"unknown {kind} {name!r}{suggestion(name, table)}")
    part = import_named(kind, name, target)
    if base and not (isinstance(part, type) and issubclass(part, base)):
        raise ValueError(f"{kind} {name!r} does not extend {base.__module__}.{base.__name__}")
    return part, dict(check_settings(f"{kind} {name!r}", getattr(part, made_by) if made_by else part, values))


def import_named(kind: str, name: str, value: str) -> Any:
    """Import the `package.module:Class` that a name stands for; if it is the name itself, also from the current folder.

    Raises:
        ValueError: It cannot be imported.
    """
    if name == value and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # at the end, so that it hides no installed package
    try:
        return EntryPoint(name, value, "").load()
    except Exception as error:  # importing a user's module can raise anything
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(f"{kind} {name!r} ({value}) cannot be imported: {cause}") from error


def check_settings(what: str, make: Callable[..., Any], given: Mapping[str, Any]) -> BaseModel:
    """Check the settings of a part against its schema and fill in the defaults.

    Args:
        what: The part, for error messages.
        make: Its class, or the class method that takes the settings.
        given: The settings.

    Raises:
        ValueError: A setting is unknown, missing or of the wrong type.
    """
    schema = settings_schema(make)
    try:
        return schema.model_validate(dict(given))
    except ValidationError as error:
        raise ValueError(f"{what}: {faults(error, schema, noun='setting')}") from error


@cache
def settings_schema(make: Callable[..., Any]) -> type[BaseModel]:
    """Return a pydantic model of the settings of a class: the keyword-only parameters of its constructor."""
    fields: dict[str, Any] = {
        parameter.name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(make, eval_str=True).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(make.__name__, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields)
