"""Parts that a spec names: a table of names, or `package.module:Class`, with settings that are checked."""

import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from idc_data.wording import did_you_mean, first_fault

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
    """Find the class that a part of a spec names, and all of its settings, checked, with defaults filled in.

    Nothing is opened or made. The keyword-only parameters of the constructor are the schema.

    Args:
        kind: What the part is, for errors.
        given: A name, or `{"name": name, setting: value, ...}`.
        table: Name -> `package.module:Class`; other names are taken for the latter, and its module may lie in the
            current folder.
        base: What the class has to extend.
        made_by: The class method that takes the settings, where it is not the constructor.

    Raises:
        ValueError: The name or a setting is unknown or of the wrong type; the nearest known one is named.
    """
    values = {"name": given} if isinstance(given, str) else dict(given)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"{kind} is {given!r}, expected a name or a mapping with a name and settings")
    part = _import(kind, name, table)
    if base and not (isinstance(part, type) and issubclass(part, base)):
        raise ValueError(f"{kind} {name!r} does not extend {base.__module__}.{base.__name__}")
    make = getattr(part, made_by) if made_by else part
    hints = get_type_hints(make if made_by else part.__init__, include_extras=True)  # with their limits
    fields: dict[str, Any] = {
        parameter.name: (
            hints.get(parameter.name, Any),
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for key in values.keys() - fields.keys():
        raise ValueError(f"{kind} {name!r} has no setting {key!r}, {_nearest(key, fields)}")
    try:
        checked = create_model(name, __config__=ConfigDict(protected_namespaces=()), **fields)(**values)
    except ValidationError as error:
        raise ValueError(f"{kind} {name!r}: {first_fault(error)}") from error
    return part, {key: getattr(checked, key) for key in fields}


def _import(kind: str, name: str, table: Mapping[str, str]) -> type[Any]:
    target = table.get(name, name)
    if not re.fullmatch(PLUGIN, target):
        raise ValueError(f"{kind} {name!r} is not known, {_nearest(name, table)}")
    if target == name and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # at the end: nothing there hides what is installed
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} {name!r} cannot be imported: {error}") from error


def _nearest(given: str, known: Mapping[str, Any]) -> str:
    return did_you_mean(given, known, f"expected one of {', '.join(sorted(known))}")
