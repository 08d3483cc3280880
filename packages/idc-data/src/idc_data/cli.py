"""The command `idc-data`."""

import click

from idc_data.commands.checking import audit, check, show
from idc_data.commands.making import export, generate, import_, scenes
from idc_data.mistakes import OneLineGroup


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="idc-data")
def main() -> None:
    """Generate, import, check and view change-captioning datasets.

    \b
    A dataset is a folder with train/, val/ and test/, each containing
    images and a metadata.jsonl with the pairs and their captions.
    """  # noqa: D301


for _command in (scenes, generate, import_, export, check, show, audit):
    main.add_command(_command)
