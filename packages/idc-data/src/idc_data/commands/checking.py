"""Commands that inspect a dataset: `check`, `show`, `audit`."""

import shlex
from pathlib import Path
from random import Random

import click

from idc_data.commands.options import EXISTING_FILE, EXISTING_FOLDER, FOLDER, pair_counts, settings_option
from idc_data.example import SPLITS
from idc_data.readers import FORMATS
from idc_data.wording import counted


@click.command()
@click.argument("dataset", metavar="DIR", type=EXISTING_FOLDER)
@click.option("--format", type=click.Choice(FORMATS), help="The layout of a published dataset.  [default: our own]")
@settings_option
@click.option("--quick", is_flag=True, help="With --format: do not read images.")
@click.option("--fix", "fixes", metavar="NAMES", help="Fixes to apply, separated by commas; needs --out.")
@click.option("--out", type=FOLDER, help="A new folder for the fixed copy.")
def check(
    dataset: Path, format: str | None, settings: dict[str, str], quick: bool, fixes: str | None, out: Path | None
) -> None:
    """Find problems that would spoil a training or a score, grouped by kind.

    \b
    The exit code is 1 if there are errors or warnings, otherwise 0, even
    with notes. With --format, a published dataset is checked in its own
    layout. --fix writes a fixed copy in our own layout. Fixes: merge,
    drop-blank, drop-shared, drop-near, drop-damaged, drop-contradicting,
    drop-foreign.

    \b
    Examples:
      idc-data check data/scenes
      idc-data check downloads/adobe --format image-editing-request
      idc-data check downloads/adobe --format image-editing-request --fix merge,drop-shared --out data/requests
    """  # noqa: D301
    if bool(fixes) != bool(out):
        raise click.UsageError("--fix and --out must be given together")
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
    """Examine a dataset by its records, and fix it if requested; return the report and the severities."""
    from idc_data.doctor import examine, mended
    from idc_data.layout import write_layout
    from idc_data.readers import resolve_reader

    reader, values = resolve_reader({"name": format or "idc_data.readers.own:Own", "root": dataset, **settings})
    if not hasattr(reader, "read"):
        raise ValueError(f"{format!r} has no annotation files to check: import it, then check the result")
    found = examine(reader, values, images=images)
    lines, severities = list(found.lines()), [each.severity for each in found.findings]
    if out is None:
        if found.fixes:
            typed = " ".join(f"-s {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
            command = ["idc-data", "check", str(dataset), *(["--format", format] if format else [])]
            lines.append(f"fix: {shlex.join(command)} {typed and typed + ' '}--fix {','.join(found.fixes)} --out NEW")
        return lines, severities
    chosen = [name.strip() for name in (fixes or "").split(",") if name.strip()]
    counts = write_layout(out, mended(reader, values, found, chosen))
    lines.append(f"{out}: {pair_counts(counts)}")
    return lines, severities


@click.command()
@click.argument("dataset", metavar="DIR", type=EXISTING_FOLDER)
@click.option("--out", type=FOLDER, help="The PNG to write.  [default: <name of DIR>_<split>.png]")
@click.option("--num", type=click.IntRange(min=1, max=200), default=12, show_default=True, help="Pairs to show.")
@click.option("--split", type=click.Choice(SPLITS), help="[default: the first that DIR has]")
def show(dataset: Path, out: Path | None, num: int, split: str | None) -> None:
    """Draw a random sample of pairs with their captions as a PNG.

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


@click.command()
@click.argument("dataset", metavar="DIR", type=EXISTING_FOLDER)
@click.option("--num", type=click.IntRange(min=1), default=100, show_default=True, help="Pairs to judge.")
@click.option("--out", type=FOLDER, help="The page to write.  [default: <name of DIR>_audit.html]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the sample of pairs.")
@click.option("--apply", "verdicts", type=EXISTING_FILE, help="Apply verdicts that were saved on the page.")
def audit(dataset: Path, num: int, out: Path | None, seed: int, verdicts: Path | None) -> None:
    """Let people accept, correct or reject captions: write a web page, then apply its verdicts.

    \b
    The page is self-contained: open it in a browser on any machine, judge
    the pairs, and save. --apply then removes rejected pairs from DIR,
    inserts corrected captions, and reports how many were right. The
    verdicts stay in DIR/audit.json, even if the dataset is made again.

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
