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
"""Group of entry points that record a study: functions from the file of ratings to one line for the console."""

_File = click.Path(exists=True, dir_okay=False, path_type=Path)
_NeedsExtra = ("krippendorff", "scipy", "starlette", "uvicorn")


@click.command("rate")
@click.argument("systems", type=Target(), nargs=-1)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="ratings.db", show_default=True,
              help="File of the study and its answers (SQLite); an existing study is continued.")  # fmt: skip
@click.option("--mode", type=click.Choice(["scale", "prefer"]), help="1 to 5 on correctness, completeness and fluency, "
              "or which of two is better. Default: scale.")  # fmt: skip
@click.option("--num", type=click.IntRange(min=1), help="Maximum number of pairs, drawn at random. Default: 100.")
@click.option("--seed", type=int, help="Seed of the draw. Default: 0.")
@click.option(
    "--checks", type=click.FloatRange(0, 1), help="Attention checks, as a fraction of the items. Default: 0.1."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0 for all who can "
              "reach this machine.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8766, show_default=True, help="0 takes any free port.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to a file; do not serve.")
@click.option("--import", "imports", type=_File, multiple=True, help="Import answers from a file saved by such a page; "
              "do not serve. Can be repeated.")  # fmt: skip
def rate_command(
    systems: tuple[Path, ...],
    out: Path,
    host: str,
    port: int,
    html: Path | None,
    imports: tuple[Path, ...],
    **options: Any,
) -> None:
    """Let people rate the captions of SYSTEMS: predictions files for the same pairs, with `before` and `after` images.

    Raters see neither system names nor references, each rater in a random order. Every answer is stored at once.

    \b
    Examples:
      idc-eval rate lstm.jsonl transformer.jsonl --num 50
      idc-eval rate                                         # continue ratings.db
      idc-eval rate lstm.jsonl transformer.jsonl --mode prefer --out prefer.db
      idc-eval rate --html study.html                       # to mail; answers come back as files
      idc-eval rate --import ratings_ann.json --import ratings_ben.json
    """  # noqa: D301 - click reads the \b
    with _needs_extra():
        if html and html.resolve() == out.resolve():
            raise ValueError(f"--html and --out are both {str(out)!r}; give two files")
        with _study(out, systems, {name: value for name, value in options.items() if value is not None}) as ratings:
            click.echo(_summary(ratings))
            for file in imports:
                from idc_eval.rating.page import import_answers

                click.echo(f"{file}: {import_answers(ratings, file):,} new answers")
            if html:
                from idc_eval.rating.page import rating_page
                from idc_eval.whole import write_whole

                write_whole(html, rating_page(ratings, served=False))
                click.echo(f"{html}: {html.stat().st_size / 1e6:.1f} MB; send it to the raters")
            if not html and not imports:
                _serve(ratings, host, port)


@click.command("agreement")
@click.argument("ratings", type=_File)
@click.option("--metrics", multiple=True, metavar="NAMES", help="Metrics to correlate with people, comma-separated, as "
              "for `score`, or none. Default: bleu-4,rouge-l,cider,statement_accuracy.")  # fmt: skip
@click.option("--pass", "passing", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Share of attention checks that a rater must pass.")  # fmt: skip
@click.option("--keep-all", is_flag=True, help="Also count raters who did not pass.")
@click.option(
    "--draws", type=click.IntRange(min=100), default=1_000, show_default=True, help="Draws of each bootstrap."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.option(
    "--tracking", is_flag=True, help="Also record the result in the installed tracker, such as idc-run's MLflow."
)
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
    """Evaluate RATINGS: agreement of raters, their judgement of each system, and which metrics agree with it.

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
            result = agreement(study, names, passing=passing, keep_all=keep_all, draws=draws, seed=seed)
            title = f"{ratings}, {' and '.join(study.settings.systems)}"
        if as_json:
            click.echo(json.dumps(asdict(result), indent=2))
        else:
            show_agreement(result, title)
        if tracking:
            click.echo(_track(ratings), err=as_json)


@contextmanager
def _needs_extra() -> Iterator[None]:
    """Report a missing package of the extra in one line."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _NeedsExtra:
            raise
        hint = 'in the checkout, uv pip install "./packages/idc-eval[rate]"'
        raise Mistake(f"{error.name} is not installed: {hint}") from error


def _study(out: Path, paths: tuple[Path, ...], options: dict[str, Any]) -> "Ratings":
    """Open the study in `out`, or create it."""
    from idc_eval.rating.plan import Settings, differing, make_plan
    from idc_eval.rating.store import Ratings
    from idc_eval.rating.systems import Systems

    exists = out.is_file() and out.stat().st_size > 0
    if not exists and not paths:
        raise ValueError(f"there is no study in {str(out)!r} yet: give predictions files of one or more systems")
    systems = Systems(paths) if paths else None
    if systems:
        options |= {"systems": systems.hashes()}
    if exists:
        ratings = Ratings(out)
        if problem := differing(ratings.settings, options):
            with ratings:
                raise ValueError(f"the study in {out} {problem}; choose another --out, or drop the option")
        return ratings
    assert systems is not None
    if len(systems.pictured) < len(systems.pairs):
        click.echo(f"{len(systems.pictured):,} of {len(systems.pairs):,} pairs have images; only these are rated")
    return Ratings.create(out, make_plan(systems, Settings(**options)))


def _summary(ratings: "Ratings") -> str:
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

    trackers = list(entry_points(group=TRACKERS))
    if not trackers:
        return "not tracked: no installed package records ratings; idc-run records them in MLflow"
    try:
        return trackers[0].load()(ratings)
    except Exception as error:  # whatever a tracking server does
        return f"not tracked: {type(error).__name__}: {error}"
