"""Commands that write a dataset: `scenes`, `generate`, `import`, `export`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from idc_data.commands.options import EXISTING_FILE, EXISTING_FOLDER, FOLDER, pair_counts, settings_option
from idc_data.example import SPLITS, ChangeExample, Reader
from idc_data.readers import FORMATS

_FORMS = ("parquet", "webdataset", "ms-swift", "llama-factory", "trl")


@click.command()
@click.argument("out", type=FOLDER)
@click.option("--num", type=click.IntRange(min=1), required=True, help="Pairs in each split.")
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.  [default: all three]")
@click.option("--size", type=click.IntRange(min=16), default=64, show_default=True, help="Width and height in pixels.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the scenes.")
@click.option("--overwrite", is_flag=True, help="Replace existing splits in OUT.")
def scenes(out: Path, num: int, splits: tuple[str, ...], size: int, seed: int, overwrite: bool) -> None:
    """Render procedural before/after scenes with exact captions into OUT.

    \b
    Examples:
      idc-data scenes data/scenes --num 1000
      idc-data scenes data/large --num 200 --split test --size 192 --seed 3
    """  # noqa: D301
    from idc_data.readers import open_reader

    splits = splits or SPLITS
    settings = {"name": "scenes", "image_size": size, "seed": seed}
    _write(out, [open_reader({**settings, f"{split}_pairs": num}, split) for split in splits], overwrite=overwrite)


@click.command()
@click.argument("spec", type=EXISTING_FILE)
@click.option("-s", "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override one value; repeatable.")
@click.option("--dry-run", is_flag=True, help="Collect and pair only, and report the number of requests to models.")
def generate(spec: Path, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Make a dataset from a folder of images, as specified in the YAML file SPEC.

    \b
    The stages: collect images, pair similar ones, caption each image, write
    the differences, filter, split and publish. A second start continues an
    interrupted one: no model gets the same request twice.

    \b
    Examples:
      idc-data generate experiments/generate/photos.yaml --dry-run
      idc-data generate experiments/generate/photos.yaml
      idc-data generate my.yaml -s difference=llm -s pair.per_image=5
    """  # noqa: D301
    from rich.console import Console
    from rich.progress import track

    from idc_data.generate.pipeline import generate as make
    from idc_data.generate.progress import Lines
    from idc_data.generate.spec import load_generate_spec

    console = Console(stderr=True)

    def bar(what: Iterable[Any], description: str, length: int) -> Iterable[Any]:
        return track(what, description, length, console=console, transient=True)

    progress = bar if console.is_terminal else Lines(lambda line: click.echo(line, err=True))
    loaded = load_generate_spec(spec, overrides)
    counts = make(loaded, say=click.echo, progress=progress, dry_run=dry_run)
    if counts:
        click.echo(f"{loaded.out}: {pair_counts(counts)}\nview it: idc-data show {loaded.out}")
        missing = [split for split in ("val", "test") if getattr(loaded.split, split) and not counts.get(split)]
        if missing:
            click.echo(
                f"{' and '.join(missing)} would be empty: too many pairs share images, or there are too few pairs; "
                "widen the window (pair.low, pair.high), lower pair.per_image, or add images"
            )
        click.echo(_track(loaded.tracking, loaded.out))


@click.command(name="import")
@click.argument("format", type=click.Choice(FORMATS))
@click.argument("src", type=EXISTING_FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.  [default: all three]")
@settings_option
@click.option("--overwrite", is_flag=True, help="Replace existing splits in OUT.")
def import_(
    format: str, src: Path, out: Path, splits: tuple[str, ...], settings: dict[str, str], overwrite: bool
) -> None:
    """Convert a dataset in the folder SRC, in the layout of FORMAT, to the project's own layout in OUT.

    \b
    Examples:
      idc-data import clevr-change downloads/clevr_change/data data/clevr_change
      idc-data import spot-the-diff downloads/spot data/spot_test --split test
      idc-data import table my/photos data/mine -s before=old -s after=new
    """  # noqa: D301
    from idc_data.readers import open_reader

    readers = [open_reader({"name": format, "root": src, **settings}, split) for split in splits or SPLITS]
    _write(out, readers, overwrite=overwrite)


@click.command()
@click.argument("dataset", metavar="DIR", type=EXISTING_FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--to", "form", required=True, type=click.Choice(_FORMS), help="The format to write.")
@click.option("--format", type=click.Choice(FORMATS), help="The layout of DIR.  [default: our own layout]")
@settings_option
@click.option(
    "--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.  [default: those of DIR]"
)
@click.option("--prompt", help="The question about the two images in conversations.")
def export(
    dataset: Path,
    out: Path,
    form: str,
    format: str | None,
    settings: dict[str, str],
    splits: tuple[str, ...],
    prompt: str | None,
) -> None:
    """Write a dataset in a format of another tool, into a new folder OUT.

    \b
    parquet        including the images, for Hugging Face datasets
    webdataset     tar files of 1,000 pairs
    ms-swift       conversations about two images, to fine-tune a large model
    llama-factory  likewise, with the required dataset_info.json
    trl            prompt and completion, as Parquet including the images

    \b
    Examples:
      idc-data export data/photos exported --to parquet
      idc-data export downloads/spot exported --format spot-the-diff --to trl --split train
    """  # noqa: D301
    from idc_data.export import PROMPT, export
    from idc_data.readers import open_reader
    from idc_data.rows import METADATA

    there = SPLITS if format else tuple(split for split in SPLITS if (dataset / split / METADATA).is_file())
    source = {"name": format or "folder", "root": dataset, **settings}
    readers = {split: open_reader(source, split) for split in splits or there or SPLITS}
    for path in export(form, out, {split: _each([each]) for split, each in readers.items()}, prompt=prompt or PROMPT):
        click.echo(path)


def _track(tracker: str, dataset: Path) -> str:
    """Report a finished dataset to a tracker; a failure does not affect the dataset."""
    from importlib.metadata import entry_points

    if tracker == "off":
        return "not tracked: tracking is off"
    found = list(entry_points(group="idc.trackers", name=tracker))
    if not found:
        return f"not tracked: no installed package provides a tracker {tracker!r}; idc-run provides mlflow"
    try:
        return found[0].load()(dataset)
    except Exception as error:  # a tracking server can fail in any way
        return f"not tracked: {type(error).__name__}: {error}"


def _write(out: Path, readers: list[Reader], *, overwrite: bool) -> None:
    from rich.console import Console
    from rich.progress import track

    from idc_data.layout import write_layout

    total = sum(map(len, readers))
    console = Console(stderr=True)
    silent = not console.is_terminal
    pairs = track(_each(readers), "Writing", total, console=console, transient=True, disable=silent)
    counts = write_layout(out, pairs, overwrite=overwrite)
    click.echo(f"{out}: {pair_counts(counts)}")


def _each(readers: list[Reader]) -> Iterator[ChangeExample]:
    return (reader[index] for reader in readers for index in range(len(reader)))
