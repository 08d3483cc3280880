"""Finds plugins by name through Python entry points (`idc.encoders`, `idc.fusions`, `idc.decoders`, `idc.objectives`).

A plugin is imported only when it is requested, so a broken one affects only the runs that use it.
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
    """An installed plugin, as `idc-models list` shows it."""

    kind: str
    name: str
    owner: str
    """The distribution that provides it."""
    where: str
    """File and line of the class; its import path if it cannot be imported."""
    summary: str
    """First line of its docstring, or why it cannot be imported."""


def names(kind: str) -> list[str]:
    """List the names of the installed plugins of a kind, without importing them."""
    return sorted({entry.name for entry in _entries(kind)})


def find(kind: str, name: str) -> type:
    """Return the class of a plugin.

    Args:
        kind: "encoder", "fusion", "decoder" or "objective".
        name: The name of an installed plugin, or `package.module:Class`; its module may be in the current folder.

    Raises:
        ValueError: No plugin or more than one has this name, it cannot be imported, or it does not extend the
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
    """Describe every installed plugin of a kind, including broken ones."""
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
    """Check the settings of a plugin against its schema and fill in the defaults, without building it.

    Raises:
        ValueError: The plugin cannot be found, or a setting is unknown, missing or of the wrong type.
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
            f"objective {entry.name!r}: {entry.value} takes memory_dim, the interface of an older version; expected "
            "__init__(self, widths, vocab, *, ...), with the numbers widths.visual, widths.memory and widths.state"
        )
    return plugin
