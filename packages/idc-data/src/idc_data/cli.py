"""The command `idc-data`."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import click

from idc_data.example import SPLITS, ChangeExample, Reader
from idc_data.mistakes import OneLineGroup
from idc_data.readers import FORMATS
from idc_data.wording import counted

_Folder = click.Path(path_type=Path)
_ExistingFolder = click.Path(path_type=Path, exists=True, file_okay=False)
_FORMS = ("parquet", "webdataset", "ms-swift", "llama-factory", "trl")
_ExistingFile = click.Path(path_type=Path, exists=True, dir_okay=False)


def _named(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Settings of a reader as they are typed."""
    pairs = [text.partition("=") for text in given]
    if wrong := next((name for name, equals, _ in pairs if not equals), None):
        raise click.BadParameter(f"it is {wrong!r}, expected NAME=VALUE")
    return {name.strip(): value for name, _, value in pairs}


_settings = click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_named,
    help="A setting of the reader of FORMAT; repeatable.",
)


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="idc-data")
def main() -> None:
    """Change-captioning data: make it, import it, check it, look at it.

    \b
    A dataset is a folder with train/, val/ and test/, each of them with
    images and a metadata.jsonl that pairs them with captions.
    """  # noqa: D301


@main.command()
@click.argument("out", type=_Folder)
@click.option("--num", type=click.IntRange(min=1), required=True, help="Pairs in each split.")
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.  [default: all three]")
@click.option("--size", type=click.IntRange(min=16), default=64, show_default=True, help="Width and height in pixels.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other scenes.")
@click.option("--overwrite", is_flag=True, help="Replace splits that OUT has.")
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


@main.command()
@click.argument("spec", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-s", "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override one value; repeatable.")
@click.option("--dry-run", is_flag=True, help="Collect and pair, say how much there is to ask, and ask no model.")
def generate(spec: Path, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Make a dataset from a folder of images, as the YAML file SPEC says.

    \b
    The stages: collect the images, pair similar ones, caption each, write
    the differences, filter, split and publish. Started again, it goes on
    where it was: no model is asked twice for the same.

    \b
    Examples:
      idc-data generate experiments/generate/photos.yaml --dry-run
      idc-data generate experiments/generate/photos.yaml
      idc-data generate my.yaml -s difference=llm -s pair.per_image=5
    """  # noqa: D301
    from rich.console import Console
    from rich.progress import track

    from idc_data.generate.pipeline import generate as make
    from idc_data.generate.spec import load_generate_spec

    console = Console(stderr=True)

    def progress(what: Iterable[Any], description: str, length: int) -> Iterable[Any]:
        return track(what, description, length, console=console, transient=True, disable=not console.is_terminal)

    loaded = load_generate_spec(spec, overrides)
    counts = make(loaded, say=click.echo, progress=progress, dry_run=dry_run)
    if counts:
        click.echo(f"{loaded.out}: {_pairs(counts)}\nlook at it: idc-data show {loaded.out}")
        missing = [split for split in ("val", "test") if getattr(loaded.split, split) and not counts.get(split)]
        if missing:
            click.echo(
                f"nothing in {' and '.join(missing)}: the pairs hang together by shared images, or are too few; widen "
                "the window (pair.low, pair.high), lower pair.per_image, or give more images"
            )
        click.echo(_track(loaded.tracking, loaded.out))


@main.command(name="import")
@click.argument("format", type=click.Choice(FORMATS))
@click.argument("src", type=_ExistingFolder)
@click.argument("out", type=_Folder)
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.  [default: all three]")
@_settings
@click.option("--overwrite", is_flag=True, help="Replace splits that OUT has.")
def import_(
    format: str, src: Path, out: Path, splits: tuple[str, ...], settings: dict[str, str], overwrite: bool
) -> None:
    """Copy a dataset in the layout of its FORMAT, in the folder SRC, into the project's own layout in OUT.

    \b
    Examples:
      idc-data import clevr-change downloads/clevr_change/data data/clevr_change
      idc-data import spot-the-diff downloads/spot data/spot_test --split test
      idc-data import table my/photos data/mine -s before=old -s after=new
    """  # noqa: D301
    from idc_data.readers import open_reader

    readers = [open_reader({"name": format, "root": src, **settings}, split) for split in splits or SPLITS]
    _write(out, readers, overwrite=overwrite)


@main.command()
@click.argument("dataset", metavar="DIR", type=_ExistingFolder)
@click.argument("out", type=_Folder)
@click.option("--to", "form", required=True, type=click.Choice(_FORMS), help="What to write.")
@click.option("--format", type=click.Choice(FORMATS), help="Of what DIR holds.  [default: our own layout]")
@_settings
@click.option(
    "--split", "splits", type=click.Choice(SPLITS), multiple=True, help="Repeatable.  [default: those of DIR]"
)
@click.option("--prompt", help="What conversations ask about the two images.")
def export(
    dataset: Path,
    out: Path,
    form: str,
    format: str | None,
    settings: dict[str, str],
    splits: tuple[str, ...],
    prompt: str | None,
) -> None:
    """Write a dataset in a form that others read, into a new folder OUT.

    \b
    parquet        images included, as Hugging Face datasets reads it
    webdataset     tar files of 1,000 pairs
    ms-swift       conversations about two images, to fine-tune a large model
    llama-factory  likewise, with the dataset_info.json that it needs
    trl            prompt and completion, as Parquet with the images

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


@main.command()
@click.argument("dataset", metavar="DIR", type=_ExistingFolder)
@click.option("--format", type=click.Choice(FORMATS), help="Of a published dataset.  [default: our own layout]")
@_settings
@click.option("--quick", is_flag=True, help="With --format: look at no image.")
@click.option("--fix", "fixes", metavar="NAMES", help="Mend what these name, with commas, into --out.")
@click.option("--out", type=_Folder, help="A new folder for what is mended.")
def check(
    dataset: Path, format: str | None, settings: dict[str, str], quick: bool, fixes: str | None, out: Path | None
) -> None:
    """Find what would spoil a training or a score: problems of one kind together.

    \b
    The exit code is 0 for a clean dataset, notes or not, and 1 for one with
    errors or warnings. A published dataset is checked as it lies, with
    --format. --fix writes a copy in our own layout without what its names
    say: merge, drop-blank, drop-shared, drop-near, drop-damaged,
    drop-contradicting, drop-foreign.

    \b
    Examples:
      idc-data check data/scenes
      idc-data check downloads/adobe --format image-editing-request
      idc-data check downloads/adobe --format image-editing-request --fix merge,drop-shared --out data/requests
    """  # noqa: D301
    if bool(fixes) != bool(out):
        raise click.UsageError("--fix and --out go together")
    if format is None and not fixes:
        from idc_data.check import check_dataset, grouped

        problems = check_dataset(dataset)
        lines, severities = grouped(problems), [each.severity for each in problems]
    else:
        lines, severities = _examine(dataset, format, settings, images=not quick, fixes=fixes, out=out)
    for line in lines:
        click.echo(line)
    errors, warnings = severities.count("error"), severities.count("warning")
    if errors or warnings:
        click.echo(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}", err=True)
        raise SystemExit(1 if out is None else 0)
    click.echo(f"{dataset}: no problem found", err=True)


def _examine(
    dataset: Path, format: str | None, settings: dict[str, str], *, images: bool, fixes: str | None, out: Path | None
) -> tuple[list[str], list[str]]:
    """Examine a dataset by its records, and mend it if that is asked for: what is said, and how bad it is."""
    from idc_data.doctor import examine, mended
    from idc_data.layout import write_layout
    from idc_data.readers import resolve_reader

    reader, values = resolve_reader({"name": format or "idc_data.readers.own:Own", "root": dataset, **settings})
    if not hasattr(reader, "read"):
        raise ValueError(f"{format!r} has no annotation files to check: import it, and check what it becomes")
    found = examine(reader, values, images=images)
    lines, severities = list(found.lines()), [each.severity for each in found.findings]
    if out is None:
        if found.fixes:
            typed = " ".join(f"-s {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
            command = ["idc-data", "check", str(dataset), *(["--format", format] if format else [])]
            lines.append(f"mend: {shlex.join(command)} {typed and typed + ' '}--fix {','.join(found.fixes)} --out NEW")
        return lines, severities
    chosen = [name.strip() for name in (fixes or "").split(",") if name.strip()]
    counts = write_layout(out, mended(reader, values, found, chosen))
    lines.append(f"{out}: {_pairs(counts)}")
    return lines, severities


@main.command()
@click.argument("dataset", metavar="DIR", type=_ExistingFolder)
@click.option("--out", type=_Folder, help="The picture to write.  [default: <name of DIR>_<split>.png]")
@click.option("--num", type=click.IntRange(min=1, max=200), default=12, show_default=True, help="Pairs to show.")
@click.option("--split", type=click.Choice(SPLITS), help="[default: the first that DIR has]")
def show(dataset: Path, out: Path | None, num: int, split: str | None) -> None:
    """Draw a random sample of pairs with their captions: a PNG to look at.

    \b
    Examples:
      idc-data show data/scenes
      idc-data show data/scenes --split test --num 30 --out scenes.png
    """  # noqa: D301
    from idc_data.layout import Folder
    from idc_data.rows import METADATA
    from idc_data.show import contact_sheet

    split = split or next((name for name in SPLITS if (dataset / name / METADATA).is_file()), SPLITS[0])
    pairs = Folder(split, root=dataset)
    chosen = sorted(Random(0).sample(range(len(pairs)), min(num, len(pairs))))
    out = out or Path(f"{dataset.resolve().name}_{split}.png")
    contact_sheet([pairs[index] for index in chosen]).save(out)
    click.echo(out)


@main.command()
@click.argument("dataset", metavar="DIR", type=_ExistingFolder)
@click.option("--num", type=click.IntRange(min=1), default=100, show_default=True, help="Pairs to judge.")
@click.option("--out", type=_Folder, help="The page to write.  [default: <name of DIR>_audit.html]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw of the pairs.")
@click.option("--apply", "verdicts", type=_ExistingFile, help="Write back what was saved on the page.")
def audit(dataset: Path, num: int, out: Path | None, seed: int, verdicts: Path | None) -> None:
    """Have people accept, correct or reject captions: write a web page, then take its verdicts back.

    \b
    The page holds everything that it needs: open it in a browser, on any
    machine, judge, and save. --apply then removes the rejected pairs from
    DIR, puts the corrected captions in, and tells how many were right.
    The verdicts stay in DIR/audit.json, also when the dataset is made anew.

    \b
    Examples:
      idc-data audit data/photos --num 100
      idc-data audit data/photos --apply ~/Downloads/photos_audit.json
    """  # noqa: D301
    from idc_data.audit import add_verdicts, audit_page, read_verdicts
    from idc_data.whole import write_whole

    if verdicts:
        click.echo(f"{dataset}: {add_verdicts(dataset, read_verdicts(verdicts))}")
        return
    page, count = audit_page(dataset, num, seed=seed)
    out = out or Path(f"{dataset.resolve().name}_audit.html")
    write_whole(out, page.encode())
    click.echo(f"{out}: {counted(count, 'pair')} to judge; open it in a browser")


def _track(tracker: str, dataset: Path) -> str:
    """Tell a tracker of a finished dataset; that it cannot be told spoils nothing."""
    from importlib.metadata import entry_points

    if tracker == "off":
        return "not tracked: tracking is off"
    found = list(entry_points(group="idc.trackers", name=tracker))
    if not found:
        return f"not tracked: no installed package has a tracker {tracker!r}; idc-run has mlflow"
    try:
        return found[0].load()(dataset)
    except Exception as error:  # whatever a tracking server does
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
    click.echo(f"{out}: {_pairs(counts)}")


def _pairs(counts: Mapping[str, int]) -> str:
    """Word how many pairs each split has."""
    return ", ".join(f"{counted(count, 'pair')} in {split}" for split, count in counts.items())


def _each(readers: list[Reader]) -> Iterator[ChangeExample]:
    return (reader[index] for reader in readers for index in range(len(reader)))
