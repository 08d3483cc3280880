"""Finds plugins by name through Python entry points (`idc.encoders`, `idc.fusions`, `idc.decoders`, `idc.objectives`).

A plugin is imported when it is asked for and not before, so a broken one breaks only the run that names it.
"""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from idc_data.installed import entries
from idc_data.wording import suggestion
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

KINDS = ("encoder", "fusion", "decoder", "objective")


@dataclass(frozen=True)
class Plugin:
    """One installed plugin, as `idc-models list` shows it."""

    kind: str
    name: str
    owner: str
    """The distribution that brings it."""
    where: str
    """File and line of the class; its import path when it cannot be imported."""
    summary: str
    """First line of its docstring, or why it cannot be imported."""


def names(kind: str) -> list[str]:
    """Lists the names under which plugins of a kind are installed; imports none of them."""
    return sorted({entry.name for entry in _entries(kind)})


def find(kind: str, name: str) -> type:
    """Gives the class of a plugin.

    Args:
        kind: "encoder", "fusion", "decoder" or "objective".
        name: an installed name, or `package.module:Class` for a class that no distribution registers; its module may
            lie in the current folder.

    Raises:
        ValueError: no plugin has this name, two distributions do, it cannot be imported, or it does not extend the
            contract's class.
    """
    if ":" in name:
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)  # at the end: nothing there hides what is installed
        return _load(kind, EntryPoint(name=name, value=name, group=""))
    matches = [entry for entry in _entries(kind) if entry.name == name]
    if not matches:
        raise ValueError(f"unknown {kind} {name!r}{suggestion(name, names(kind))}")
    if len(matches) > 1:
        owners = " and ".join(sorted(f"{_owner(entry)} ({entry.value})" for entry in matches))
        raise ValueError(f"{kind} {name!r} is registered by {owners}: uninstall one, or use package.module:Class")
    return _load(kind, matches[0])


def describe(kind: str) -> list[Plugin]:
    """Describes every installed plugin of a kind, the broken ones too."""
    plugins = []
    for entry in sorted(_entries(kind), key=lambda entry: (entry.name, _owner(entry))):
        try:
            plugin = _load(kind, entry)
            where = f"{inspect.getsourcefile(plugin)}:{inspect.getsourcelines(plugin)[1]}"
            summary = (inspect.getdoc(plugin) or "").partition("\n")[0]
        except ValueError as error:
            where, summary = entry.value, str(error)
        plugins.append(Plugin(kind, entry.name, _owner(entry), where, summary))
    return plugins


@cache
def settings_schema(plugin: type) -> type[BaseModel]:
    """Makes a pydantic model of a class's settings: the keyword-only parameters of its constructor."""
    fields: dict[str, Any] = {
        parameter.name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(plugin, eval_str=True).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(plugin.__name__, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields)


def validate(kind: str, name: str, settings: Mapping[str, Any]) -> BaseModel:
    """Checks the settings of a plugin against its schema and fills in the defaults; builds nothing.

    Raises:
        ValueError: the plugin cannot be found, or a setting is unknown, missing or of the wrong type.
    """
    schema = settings_schema(find(kind, name))
    try:
        return schema.model_validate(dict(settings))
    except ValidationError as error:
        problems = "; ".join(_problem(problem, schema) for problem in error.errors())
        raise ValueError(f"{kind} {name!r}: {problems}") from error


def _problem(problem: Mapping[str, Any], schema: type[BaseModel]) -> str:
    setting = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {setting!r}{suggestion(setting, schema.model_fields)}"
    if problem["type"] == "missing":
        return f"setting {setting!r} is required"
    return f"setting {'.'.join(map(str, problem['loc']))!r} is {problem['input']!r}: {problem['msg']}"


def _entries(kind: str) -> list[EntryPoint]:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}{suggestion(kind, KINDS)}")
    return entries(f"idc.{kind}s")


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown distribution"


def _load(kind: str, entry: EntryPoint) -> type:
    from idc_models.contract import BASES  # imports torch, which listing names does not need

    try:
        plugin = entry.load()
    except Exception as error:  # importing someone's module can raise anything
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(f"{kind} {entry.name!r} ({entry.value}) cannot be imported: {cause}") from error
    if not (isinstance(plugin, type) and issubclass(plugin, BASES[kind])):
        raise ValueError(f"{kind} {entry.name!r}: {entry.value} does not extend idc_models.contract.{kind.title()}")
    if kind == "objective" and next(iter(inspect.signature(plugin).parameters), "") == "memory_dim":
        raise ValueError(
            f"objective {entry.name!r}: {entry.value} takes memory_dim, as objectives once did; expected "
            "__init__(self, widths, vocab, *, ...), where widths.memory, .visual and .state are numbers"
        )
    return plugin
