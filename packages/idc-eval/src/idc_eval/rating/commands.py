"""The commands `idc-eval rate` and `idc-eval agreement`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from idc_eval.mistakes import Mistake
from idc_eval.targets import Target

if TYPE_CHECKING:
    from idc_eval.rating.store import Ratings

TRACKERS = "idc.ratings"
"""Entry points that are told of a study: functions from the file of ratings to one line for people."""

_File = click.Path(exists=True, dir_okay=False, path_type=Path)
_NeedsExtra = ("krippendorff", "scipy", "starlette", "uvicorn")


@click.command("rate")
@click.argument("systems", type=Target(), nargs=-1)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="ratings.db", show_default=True,
              help="The study and its answers (SQLite); an existing one is gone on with.")  # fmt: skip
@click.option("--mode", type=click.Choice(["scale", "prefer"]), help="1 to 5 on correctness, completeness and fluency, "
              "or which of two is better. Default: scale.")  # fmt: skip
@click.option("--num", type=click.IntRange(min=1), help="Most pairs, drawn at random. Default: 100.")
@click.option("--seed", type=int, help="Of the draw. Default: 0.")
@click.option("--checks", type=click.FloatRange(0, 1), help="Attention checks, as a part of the items. Default: 0.1.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to serve; 0.0.0.0 is for all who can "
              "reach this machine.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8766, show_default=True, help="0 takes any free one.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to send out; do not serve.")
@click.option("--import", "imports", type=_File, multiple=True, help="Take answers from a file that such a page saved; "
              "do not serve. May be given several times.")  # fmt: skip
def rate_command(
    systems: tuple[Path, ...],
    out: Path,
    host: str,
    port: int,
    html: Path | None,
    imports: tuple[Path, ...],
    **given: Any,
) -> None:
    """Let people rate what SYSTEMS say: predictions files for the same pairs, with `before` and `after` images.

    Raters see no system's name and no reference, each in an order of their own. Every answer is stored at once.

    \b
    Examples:
      idc-eval rate lstm.jsonl transformer.jsonl --num 50
      idc-eval rate                                         # go on with ratings.db
      idc-eval rate lstm.jsonl transformer.jsonl --mode prefer --out prefer.db
      idc-eval rate --html study.html                       # to send out; answers come back as files
      idc-eval rate --import ratings_ann.json --import ratings_ben.json
    """  # noqa: D301 - click reads the \b
    with _needs_extra():
        if html and html.resolve() == out.resolve():
            raise ValueError(f"--html and --out are both {str(out)!r}; give two files")
        with _study(out, systems, {name: value for name, value in given.items() if value is not None}) as ratings:
            click.echo(_told(ratings))
            for file in imports:
                from idc_eval.rating.page import import_answers

                click.echo(f"{file}: {import_answers(ratings, file):,} new answers")
            if html:
                from idc_eval.rating.page import rating_page
                from idc_eval.whole import write_whole

                write_whole(html, rating_page(ratings, served=False))
                click.echo(f"{html}: {html.stat().st_size / 1e6:.1f} MB, to send out")
            if not html and not imports:
                _serve(ratings, host, port)


@click.command("agreement")
@click.argument("ratings", type=_File)
@click.option("--metrics", multiple=True, metavar="NAMES", help="To hold against people, comma-separated, as for "
              "`score`; none for none. Default: bleu-4,rouge-l,cider,statement_accuracy.")  # fmt: skip
@click.option("--pass", "passing", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="The part of attention checks that a rater must pass.")  # fmt: skip
@click.option("--keep-all", is_flag=True, help="Count also raters who did not pass.")
@click.option("--draws", type=click.IntRange(min=100), default=1_000, show_default=True, help="Of each bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.option("--tracking", is_flag=True, help="Also tell the tracker that is installed, such as idc-run's MLflow.")
def agreement_command(
    ratings: Path,
    metrics: tuple[str, ...],
    passing: float,
    keep_all: bool,
    draws: int,
    seed: int,
    as_json: bool,
    tracking: bool,
) -> None:
    """Evaluate RATINGS: agreement between raters, what they say of each system, and which metric says the same.

    \b
    Examples:
      idc-eval agreement ratings.db
      idc-eval agreement ratings.db --metrics bleu-4,meteor,cider --json
    """  # noqa: D301 - click reads the \b
    from dataclasses import asdict

    with _needs_extra():
        from idc_eval.rating.agreement import METRICS, agreement
        from idc_eval.rating.show import show_agreement
        from idc_eval.rating.store import Ratings

        names = [name.strip() for part in metrics for name in part.split(",")] or list(METRICS)
        names = [] if names == ["none"] else names
        with Ratings(ratings) as study:
            found = agreement(study, names, passing=passing, keep_all=keep_all, draws=draws, seed=seed)
            title = f"{ratings}, {' and '.join(study.settings.systems)}"
        if as_json:
            click.echo(json.dumps(asdict(found), indent=2))
        else:
            show_agreement(found, title)
        if tracking:
            click.echo(_track(ratings), err=as_json)


@contextmanager
def _needs_extra() -> Iterator[None]:
    """What the extra brings and is not there is one line."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _NeedsExtra:
            raise
        hint = 'in the checkout, uv pip install "./packages/idc-eval[rate]"'
        raise Mistake(f"{error.name} is not installed: {hint}") from error


def _study(out: Path, paths: tuple[Path, ...], given: dict[str, Any]) -> "Ratings":
    """The study in `out`, made first if there is none."""
    from idc_eval.rating.plan import Settings, differing, make_plan
    from idc_eval.rating.store import Ratings
    from idc_eval.rating.systems import Systems

    exists = out.is_file() and out.stat().st_size > 0
    if not exists and not paths:
        raise ValueError(f"there is no study in {str(out)!r} yet: give the predictions file of a system, or several")
    systems = Systems(paths) if paths else None
    if systems:
        given |= {"systems": systems.hashes()}
    if exists:
        ratings = Ratings(out)
        if problem := differing(ratings.settings, given):
            with ratings:
                raise ValueError(f"the study in {out} {problem}; give another --out, or leave the option out")
        return ratings
    assert systems is not None
    if len(systems.pictured) < len(systems.pairs):
        click.echo(f"{len(systems.pictured):,} of {len(systems.pairs):,} pairs have images; people rate these only")
    return Ratings.create(out, make_plan(systems, Settings(**given)))


def _told(ratings: "Ratings") -> str:
    checks = sum(bool(item.accepted) for item in ratings.items.values())
    raters = len({judgement.rater for judgement in ratings.last()})
    return (
        f"{ratings.path}: {len(ratings.items) - checks:,} items and {checks:,} attention checks about "
        f"{', '.join(ratings.settings.systems)}; {raters:,} rater{'' if raters == 1 else 's'} so far"
    )


def _serve(ratings: "Ratings", host: str, port: int) -> None:
    from idc_eval.rating.server import listen, serve

    with listen(host, port) as listening:
        name = f"[{host}]" if ":" in host else host
        click.echo(f"http://{name}:{listening.getsockname()[1]}/  (Ctrl-C ends; nothing is lost)")
        try:
            serve(ratings, host, listening)
        except KeyboardInterrupt:
            click.echo(f"stopped; next: idc-eval agreement {ratings.path}")


def _track(ratings: Path) -> str:
    from importlib.metadata import entry_points

    found = list(entry_points(group=TRACKERS))
    if not found:
        return "not tracked: no installed package takes ratings; idc-run takes them to MLflow"
    try:
        return found[0].load()(ratings)
    except Exception as error:  # whatever a tracking server does
        return f"not tracked: {type(error).__name__}: {error}"
