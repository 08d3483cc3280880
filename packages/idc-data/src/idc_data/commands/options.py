"""Options and output that several commands of `idc-data` share."""

from collections.abc import Mapping
from pathlib import Path

import click

from idc_data.wording import counted

FOLDER = click.Path(path_type=Path)
EXISTING_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
EXISTING_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _named(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Parse settings of a reader from the command line."""
    pairs = [text.partition("=") for text in given]
    if wrong := next((name for name, equals, _ in pairs if not equals), None):
        raise click.BadParameter(f"it is {wrong!r}, expected NAME=VALUE")
    return {name.strip(): value for name, _, value in pairs}


settings_option = click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_named,
    help="A setting of the reader of FORMAT; repeatable.",
)


def pair_counts(counts: Mapping[str, int]) -> str:
    """Return the number of pairs of each split as text."""
    return ", ".join(f"{counted(count, 'pair')} in {split}" for split, count in counts.items())
