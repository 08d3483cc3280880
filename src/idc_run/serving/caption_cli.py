"""The commands `idc-caption` and `idc-app`: parse, call, print."""

import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from idc_run.errors import OneLineErrors
from idc_run.serving.options import decoding_options

if TYPE_CHECKING:
    from idc_models.serving.inference import Caption

    from idc_run.serving.many import Captioner, Source

_Path = click.Path(path_type=Path)
_ADDRESS = ("http://", "https://")


@click.command(
    cls=OneLineErrors,
    stopped="stopped; run the same command with the same --out to continue",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("model")
@click.argument("before", type=_Path, required=False)
@click.argument("after", type=_Path, required=False)
@decoding_options
@click.option("--json", "as_json", is_flag=True, help="Print full results as JSON, one line per pair.")
@click.option("--csv", "as_csv", is_flag=True, help="For folders: print a CSV.")
@click.option("--overlay", type=_Path, help="Draw before, after, the change map and the caption to this image; "
              "for folders: one image per pair in this folder.")  # fmt: skip
@click.option("--jsonl", type=click.Path(allow_dash=True), metavar="FILE|-", help="Pairs as JSON lines, - is stdin; "
              "prints each line with the caption added.")  # fmt: skip
@click.option("--out", type=_Path, help="For folders or --jsonl: write a .jsonl or .csv file instead; the same "
              "command continues after an interruption.")  # fmt: skip
def caption(
    model: str,
    before: Path | None,
    after: Path | None,
    as_json: bool,
    as_csv: bool,
    overlay: Path | None,
    jsonl: str | None,
    out: Path | None,
    **settings: Any,
) -> None:
    """Describe what changed between the images BEFORE and AFTER.

    MODEL is a model that ships with idc-models (scenes), a registered model (models:/idc@champion), a checkpoint file
    of idc-run, or the address of a served model (http://127.0.0.1:5001). BEFORE and AFTER may be folders: images with
    equal names are pairs.

    \b
    Examples:
      idc-caption scenes before.png after.png
      idc-caption models:/idc@champion before.png after.png
      idc-caption models:/idc@champion before.jpg after.jpg --align --overlay look.png
      idc-caption best.safetensors before.png after.png --num-captions 3 --json
      idc-caption http://127.0.0.1:5001 monday/ tuesday/ --out changes.csv
      echo '{"before": "1.png", "after": "2.png", "id": 7}' | idc-caption models:/idc@champion --jsonl -

    If one of many pairs cannot be captioned, it gets an `error`, the others continue, and the exit code is 1.
    """  # noqa: D301 - click reads the \b
    from idc_run.serving import many, records
    from idc_run.serving.overlay import check_format

    if jsonl:
        if before or after or overlay or as_csv:
            raise ValueError("--jsonl provides the pairs; omit BEFORE, AFTER, --overlay and --csv")
        with click.open_file(jsonl, encoding="utf-8") as file:
            source = many.from_jsonl(file, Path() if jsonl == "-" else Path(jsonl).parent)
            _many(model, source, settings, records.print_json, None, out)
    elif before is None or after is None:
        raise ValueError("expected BEFORE and AFTER, two images or two folders, or --jsonl")
    elif before.is_dir() != after.is_dir():
        raise ValueError(f"{before} and {after} are a folder and a file; expected two images or two folders")
    elif before.is_dir():
        show = records.print_json if as_json else records.print_csv if as_csv else records.print_table
        _many(model, many.from_folders(before, after), settings, show, overlay, out)
    elif out or as_csv:
        raise ValueError("--out and --csv are for folders and --jsonl; of one pair, write what is printed: ... > file")
    else:
        if overlay:
            check_format(overlay)
        _one(model, before, after, settings, as_json, overlay)


def _one(model: str, before: Path, after: Path, settings: dict[str, Any], as_json: bool, overlay: Path | None) -> None:
    from idc_run.serving import records

    said = _captioner(model)[0].caption([(before, after)], change_map=bool(overlay), **settings)[0]
    if overlay:
        _draw(overlay, before, after, said, settings["align"])
    if as_json:
        records.print_json([records.record({"before": str(before), "after": str(after)}, said)])
    elif settings["num_captions"] == 1:
        click.echo(said.caption)
    else:
        for each in (said, *said.alternatives):
            click.echo(f"{math.exp(each.log_prob):7.2%}  {each.caption}")
    if said.note:
        click.echo(f"note: {said.note}", err=True)


def _many(
    model: str,
    source: "Source",
    settings: dict[str, Any],
    show: Callable[[Iterable[dict[str, Any]]], None],
    overlay: Path | None,
    out: Path | None,
) -> None:
    """Caption all pairs of a source and print or save the results; exit with 1 if some could not be captioned."""
    from idc_data.images import passed_over
    from idc_eval.notes import UNFAMILIAR
    from rich.console import Console
    from rich.progress import track

    from idc_run.serving import many, records
    from idc_run.serving.overlay import picture_name

    for path in source.alone:
        click.echo(f"no partner: {path}", err=True)
    if source.others:
        click.echo(passed_over(source.others), err=True)
    if overlay:
        overlay.mkdir(parents=True, exist_ok=True)
    captioner, identity = _captioner(model)
    kept = records.Records(out, source.key and [identity, source.key, settings]) if out else None
    done = kept.done if kept else 0
    if done:
        click.echo(f"resuming after {done} pairs", err=True)
    console, failed, undrawn, foreign, known = Console(stderr=True), 0, 0, 0, 0

    def found() -> Iterator[dict[str, Any]]:
        nonlocal failed, undrawn, foreign, known
        answers = many.caption_rows(
            captioner, islice(source.rows, done, None), settings | {"change_map": bool(overlay)}
        )
        hidden = not console.is_terminal
        for row, said in track(
            answers, "captioning", source.total, done, console=console, transient=True, disable=hidden
        ):
            failed += isinstance(said, str)
            if not isinstance(said, str) and said.familiar is not None:
                known += 1
                foreign += said.familiar < UNFAMILIAR
            if overlay and row.before and row.after and not isinstance(said, str):
                try:
                    _draw(overlay / picture_name(row.name), row.before, row.after, said, settings["align"])
                except (ValueError, OSError) as error:
                    undrawn += 1
                    click.echo(f"no picture of {row.name}: {error}", err=True)
            yield records.record(row.given, said)

    if kept:
        failed = kept.write(found())
        click.echo(f"written: {out}", err=True)
    else:
        show(found())
    if foreign:
        unlike = (
            f"unlike the training images of the model (familiar below {UNFAMILIAR:.0%}): do not trust their captions"
        )
        click.echo(f"note: the images of {foreign} of {known} pairs are {unlike}", err=True)
    if failed:
        click.echo(f"{failed} of the pairs could not be captioned; their `error` says why", err=True)
    if undrawn:
        click.echo(f"{undrawn} of the pairs have no picture", err=True)
    if failed or undrawn:
        sys.exit(1)


def _draw(path: Path, before: Path, after: Path, said: "Caption", aligned: bool) -> None:
    from idc_data.images import load_pair
    from idc_models.serving.align import as_seen

    from idc_run.serving.overlay import draw_overlay

    path.parent.mkdir(parents=True, exist_ok=True)
    first, second, _ = as_seen(*load_pair(before, after), register=aligned)
    draw_overlay(path, first, second, said)


def _captioner(model: str) -> tuple["Captioner", str]:
    """Return the model and its identity, because an alias such as champion may move."""
    if model.startswith(_ADDRESS):
        from idc_run.serving.remote import RemoteCaptioner

        return RemoteCaptioner(model), model
    from idc_models.loading import find_checkpoint
    from idc_models.serving.inference import PairCaptioner

    checkpoint = find_checkpoint(model)
    captioner = PairCaptioner(checkpoint)
    with checkpoint.open("rb") as file:
        return captioner, hashlib.file_digest(file, "sha256").hexdigest()


@click.command(cls=OneLineErrors, stopped="", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 opens "
              "the page to everyone who can reach this machine, without passwords.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 chooses a free port.")
@click.option("--allow-host", "names", metavar="NAME", multiple=True, help="Host name that a proxy forwards, such as "
              "captions.example.org; repeatable.")  # fmt: skip
def app(model: str, host: str, port: int, names: tuple[str, ...]) -> None:
    """Serve a web page that describes what changed between two images.

    MODEL is a model that ships with idc-models (scenes), a registered model (models:/idc@champion) or a checkpoint
    file, which the page's server runs itself, or the address of a served model, to which it forwards requests. In
    either case it also answers POST /invocations.

    \b
    Examples:
      idc-app scenes
      idc-app models:/idc@champion
      idc-app mlruns/checkpoints/transformer-concat/best.safetensors --port 8080
      idc-app http://127.0.0.1:5001
      idc-app models:/idc@champion --allow-host captions.example.org
    """  # noqa: D301 - click reads the \b
    from idc_eval.rating.server import listen

    from idc_run.serving.app import description_of, model_elsewhere, model_in_process, page_app, read_host, serve

    names = tuple(map(read_host, names))
    if "*" in names:
        click.echo(
            "warning: with --allow-host '*' any website that a user opens can send requests to this server through "
            "their browser, and read the responses; give the proxy's host name instead", err=True,
        )  # fmt: skip
    with listen(host, port) as listening:
        if model.startswith(_ADDRESS):
            from idc_run.address import read_address

            answer, shown, description = model_elsewhere(model), read_address(model).shown, None
        else:
            from idc_models.loading import find_checkpoint

            checkpoint = find_checkpoint(model)
            answer, description = model_in_process(checkpoint), description_of(checkpoint)
            shown = model if model.startswith("models:/") else Path(model).name
        name = f"[{host}]" if ":" in host else host
        click.echo(f"http://{name}:{listening.getsockname()[1]}/  (Ctrl-C stops)")
        serve(page_app(answer, shown, host, description, names), listening)
