"""The command `idc-models`: list and check plugins, and import published weights."""

import sys
from pathlib import Path

import click
from idc_data.mistakes import OneLineGroup
from idc_data.wording import suggestion
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idc_models.fetching.command import fetch_command
from idc_models.importing.command import import_command
from idc_models.registry import KINDS, describe, names


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Encoders, fusions, decoders and objectives for change captioning."""


@main.command(name="list")
def list_plugins() -> None:
    """List every installed plugin: what it is, which package provides it, and where its code is."""
    table = Table("kind", "name", "owner", box=None, header_style="bold", pad_edge=False)
    table.add_column("what and where", overflow="fold")
    for plugin in (plugin for kind in KINDS for plugin in describe(kind)):
        what = Text(f"{plugin.summary}\n").append(plugin.where.removeprefix(f"{Path.cwd()}/"), "dim")
        table.add_row(plugin.kind, plugin.name, plugin.owner, what)
    Console().print(table)


@main.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Required for package.module:Class, or if two kinds share NAME.")
@click.option("--fusion", help="For an objective that reads extras: the fusion that provides them.")
def check(name: str, kind: str | None, fusion: str | None) -> None:
    """Run the contract suite on the plugin NAME (or package.module:Class), with its default settings."""
    from idc_models.testing import check as run

    results = run(kind or kind_of(name), name, fusion=fusion)
    console = Console(highlight=False)
    for result in results:
        mark = Text("broken", "red") if result.error else Text("ok", "green")
        console.print(mark.append(f"  {result.check}: {result.error or result.promise}", "default"), soft_wrap=True)
    if any(result.error for result in results):
        sys.exit(1)


main.add_command(import_command)
main.add_command(fetch_command)


def kind_of(name: str) -> str:
    """Return the one kind that has a plugin of this name.

    Raises:
        ValueError: No kind has one, or several do.
    """
    kinds = [kind for kind in KINDS if name in names(kind)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds or ":" in name:
        raise ValueError(f"cannot tell the kind of {name!r}; add --kind {' or --kind '.join(kinds or KINDS)}")
    known = {name for kind in KINDS for name in names(kind)}
    raise ValueError(f"unknown plugin {name!r}{suggestion(name, known)}")
