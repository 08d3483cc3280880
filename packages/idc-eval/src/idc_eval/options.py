"""Options that several commands of `idc-eval` share."""

from pathlib import Path
from typing import Any

import click

from idc_eval.whole import read_text


class Sentences(click.ParamType):
    """A text file with one sentence per line; the value is the sentences."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read the file."""
        if isinstance(value, tuple):
            return value
        try:
            lines = tuple(line.strip() for line in read_text(Path(value)).splitlines() if line.strip())
        except (ValueError, OSError) as error:
            self.fail(str(error), param, ctx)
        return lines or self.fail(f"{str(value)!r} is empty, expected one sentence per line", param, ctx)


metrics_option = click.option("--metrics", multiple=True, metavar="NAMES", help="As for `score`.")
no_change_option = click.option(
    "--no-change",
    type=Sentences(),
    default=(),
    help="Text file, one sentence per line: the sentences, or parts of them, that mean no change in captions in "
    "another language. False alarms and misses are counted by them.",
)
annotations_option = click.option(
    "--annotations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the references, for results that hold only captions: COCO annotations, {id: [captions]}, or "
    "the metadata.jsonl of a data set.",
)
