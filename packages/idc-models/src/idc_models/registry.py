"""Finds plugins by name through Python entry points (`idc.encoders`, `idc.fusions`, `idc.decoders`, `idc.objectives`).

A plugin is imported when it is asked for and not before, so a broken one breaks only the run that names it.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from idc_data.installed import entries
from idc_data.named import check_settings, import_named
from idc_data.wording import suggestion
from pydantic import BaseModel

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


def validate(kind: str, name: str, settings: Mapping[str, Any]) -> BaseModel:
    """Checks the settings of a plugin against its schema and fills in the defaults; builds nothing.

    Raises:
        ValueError: the plugin cannot be found, or a setting is unknown, missing or of the wrong type.
    """
    return check_settings(f"{kind} {name!r}", find(kind, name), settings)


def _entries(kind: str) -> list[EntryPoint]:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}{suggestion(kind, KINDS)}")
    return entries(f"idc.{kind}s")


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown distribution"


def _load(kind: str, entry: EntryPoint) -> type:
    from idc_models.contract import BASES  # imports torch, which listing names does not need

    plugin = import_named(kind, entry.name, entry.value)
    if not (isinstance(plugin, type) and issubclass(plugin, BASES[kind])):
        raise ValueError(f"{kind} {entry.name!r}: {entry.value} does not extend idc_models.contract.{kind.title()}")
    if kind == "objective" and next(iter(inspect.signature(plugin).parameters), "") == "memory_dim":
        raise ValueError(
            f"objective {entry.name!r}: {entry.value} takes memory_dim, as objectives once did; expected "
            "__init__(self, widths, vocab, *, ...), where widths.memory, .visual and .state are numbers"
        )
    return plugin
