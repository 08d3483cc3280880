"""The command `idc-eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idc_eval.targets import Target, predictions_file, recorded_protocol

if TYPE_CHECKING:
    from rich.table import Table

    from idc_eval.compare import Difference
    from idc_eval.score import Scores
    from idc_eval.seeds import Aggregate


class UserError(click.ClickException):
    """A mistake of the person who typed the command: one line on stderr, exit code 2."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="idc-eval")
def main() -> None:
    """Score change captions."""


@main.command("score")
@click.argument("file", type=Target())
@click.option(
    "--metrics",
    multiple=True,
    metavar="NAMES",
    help="Which metrics, comma-separated: bleu (all four) or bleu-1..bleu-4, meteor, rouge-l, cider, "
    "statement_accuracy, change_type_accuracy, attribute_accuracy, false_alarm_rate, miss_rate, and the diagnostics "
    "that the README lists. Default: all but meteor, which takes ten seconds to start.",
)
@click.option("--protocol", default="plain", show_default=True, help="What is scored and how; see `protocols`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else; values 0..1 (CIDEr 0..10).")
@click.option("--ceiling", is_flag=True, help="Also score one reference of each pair against its other references.")
@click.option("--by-type", is_flag=True, help="Also show accuracies and rates by change type (JSON always has them).")
def score_command(
    file: Path, metrics: tuple[str, ...], protocol: str, as_json: bool, ceiling: bool, by_type: bool
) -> None:
    """Score FILE, a predictions file: one JSON object per line.

    \b
    A line:
      {"id": "7", "hypothesis": "the cube is gone", "references": ["the red cube is missing"],
       "changed": true, "change_type": "drop"}
    id, hypothesis and references are needed; changed, change_type, truth, log_prob, swapped, change_map, regions,
    difficulty, before and after are optional.

    \b
    Examples:
      idc-eval score predictions.jsonl
      idc-eval score predictions.jsonl --metrics bleu,meteor,rouge-l,cider --ceiling
      idc-eval score predictions.jsonl --protocol clevr-change/semantic
      idc-eval score predictions.jsonl --json > scores.json
    """  # noqa: D301 - click reads the \b
    from idc_eval.meteor import Meteor
    from idc_eval.metrics import FAST_METRICS
    from idc_eval.prediction import read_predictions
    from idc_eval.score import reference_ceiling, score

    names = [name.strip() for part in metrics for name in part.split(",")] or list(FAST_METRICS)
    try:
        with Meteor() as meteor:
            file = predictions_file(file)
            predictions = read_predictions(file)
            scores = score(predictions, names, protocol=protocol, meteor=meteor, images=file.parent)
            best = reference_ceiling(predictions, names, protocol=protocol, meteor=meteor) if ceiling else None
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    if as_json:
        report = scores.summary() | ({"ceiling": best.summary()} if best else {})
        click.echo(json.dumps(report, indent=2))
    else:
        _print_tables(scores, best, by_type)


@main.command("compare")
@click.argument("first", type=Target())
@click.argument("second", type=Target())
@click.option("--metrics", multiple=True, metavar="NAMES", help="As for `score`; METEOR is compared by its mean.")
@click.option("--protocol", default="", help="Score both under this one; by default that of their runs.")
@click.option("--draws", type=click.IntRange(min=100), default=10_000, show_default=True, help="Of either test.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def compare_command(
    first: Path, second: Path, metrics: tuple[str, ...], protocol: str, draws: int, seed: int, as_json: bool
) -> None:
    """Compare two systems by their predictions files for the same pairs: is the SECOND one better than the FIRST?

    \b
    The interval is of a paired bootstrap, p of a randomisation test. "pairs
    needed" is about how many it takes to find a difference of this size.
    Files with other pairs or other references, or that were scored under
    another protocol, are refused. FIRST and SECOND are predictions files,
    folders of runs, or ids of MLflow runs.

    \b
    Examples:
      idc-eval compare lstm.jsonl transformer.jsonl
      idc-eval compare a.jsonl b.jsonl --metrics bleu-4,meteor,cider --json
    """  # noqa: D301 - click reads the \b
    from dataclasses import asdict

    from idc_eval.compare import compare
    from idc_eval.meteor import Meteor
    from idc_eval.metrics import FAST_METRICS
    from idc_eval.prediction import read_predictions
    from idc_eval.protocols import same_protocol

    names = [name.strip() for part in metrics for name in part.split(",")] or list(FAST_METRICS)
    try:
        if not protocol:
            protocol, theirs = (recorded_protocol(target) for target in (first, second))
            same_protocol(protocol, theirs)
        with Meteor() as meteor:
            one, other = (read_predictions(predictions_file(target)) for target in (first, second))
            found = compare(one, other, names, protocol=protocol, draws=draws, seed=seed, meteor=meteor)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    if as_json:
        rows = [asdict(each) | {"difference": each.value} for each in found]
        names = {"first": str(first), "second": str(second), "protocol": protocol}
        click.echo(json.dumps({**names, "draws": draws, "metrics": rows}, indent=2))
    else:
        _print_differences(found, f"{second} against {first}, protocol {protocol}")


@main.command("seeds")
@click.argument("runs", type=Target(), nargs=-1, required=True)
@click.option("--metrics", multiple=True, metavar="NAMES", help="As for `score`.")
@click.option("--protocol", default="", help="Score all under this one; by default that of each run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def seeds_command(runs: tuple[Path, ...], metrics: tuple[str, ...], protocol: str, as_json: bool) -> None:
    """Sum up RUNS of one system that differ in their seed: mean, standard deviation and 95 % interval of each metric.

    \b
    Example:
      idc-eval seeds seed1/predictions.jsonl seed2/predictions.jsonl seed3/predictions.jsonl
    """  # noqa: D301 - click reads the \b
    from dataclasses import asdict

    from idc_eval.meteor import Meteor
    from idc_eval.metrics import FAST_METRICS
    from idc_eval.prediction import read_predictions
    from idc_eval.score import score
    from idc_eval.seeds import aggregate

    names = [name.strip() for part in metrics for name in part.split(",")] or list(FAST_METRICS)
    try:
        with Meteor() as meteor:
            scores = [
                score(
                    read_predictions(predictions_file(run)),
                    names,
                    protocol=protocol or recorded_protocol(run),
                    meteor=meteor,
                )
                for run in runs
            ]
        found = aggregate(scores)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    if as_json:
        rows = [asdict(each) for each in found]
        click.echo(json.dumps({"runs": [*map(str, runs)], "protocol": scores[0].protocol, "metrics": rows}, indent=2))
    else:
        _print_aggregates(found, scores)


def _print_aggregates(found: "list[Aggregate]", scores: "list[Scores]") -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{len(scores)} runs, {scores[0].n:,} pairs, protocol {scores[0].protocol}, values x 100"
    table = Table(title=title)
    for heading in ("metric", "mean", "deviation", "95 % interval", "lowest", "highest"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for each in found:
        spread = ("-", "-")
        if each.deviation is not None and each.low is not None and each.high is not None:
            spread = (f"{100 * each.deviation:.1f}", f"{100 * each.low:.1f} to {100 * each.high:.1f}")
        ends = (f"{100 * min(each.values):.1f}", f"{100 * max(each.values):.1f}")
        table.add_row(each.metric, f"{100 * each.mean:.1f}", *spread, *ends)
    Console().print(table)


@main.command("report")
@click.argument("target", type=Target())
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: report.html beside them.")
@click.option("--metrics", multiple=True, metavar="NAMES", help="As for `score`; by default those of scores.json.")
@click.option("--protocol", default="", help="As for `score`; by default that of scores.json.")
@click.option("--num", type=click.IntRange(min=1), default=200, show_default=True, help="Most pairs in the gallery.")
@click.option("--title", default="", help="Default: the name in spec.json, or that of TARGET.")
def report_command(
    target: Path, out: Path | None, metrics: tuple[str, ...], protocol: str, num: int, title: str
) -> None:
    """Write a web page about TARGET: scores, plots, and a gallery of pairs. It is one file and loads nothing else.

    TARGET is a predictions file, or a folder with predictions.jsonl and, if there are any, scores.json, spec.json and
    curves.json ({"val/cider": [[step, value], ...], ...}).

    \b
    Examples:
      idc-eval report predictions.jsonl
      idc-eval report runs/7/artifacts --out seven.html --num 500
    """  # noqa: D301 - click reads the \b
    from idc_eval.report import report_folder

    names = [name.strip() for part in metrics for name in part.split(",")]
    try:
        page, problems = report_folder(target, out=out, metrics=names, protocol=protocol, gallery=num, title=title)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    for problem in problems:
        click.echo(f"Warning: {problem}", err=True)
    click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


@main.command("protocols")
def protocols_command() -> None:
    """List the protocols: what is scored, and how."""
    from rich.console import Console
    from rich.table import Table

    from idc_eval.protocols import PROTOCOLS

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("protocol", "what is scored", "published pairs"):
        table.add_column(heading, justify="right" if "pairs" in heading else "left")
    for protocol in PROTOCOLS.values():
        table.add_row(protocol.name, protocol.about, f"{protocol.published:,}" if protocol.published else "")
    Console().print(table)


def _print_differences(found: "list[Difference]", title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from idc_eval.metrics import METRICS

    pairs = max((each.pairs for each in found), default=0)
    table = Table(title=f"{title}: {pairs:,} pairs, values x 100")
    for heading in ("metric", "first", "second", "difference", "95 % interval", "p", "pairs needed", ""):
        table.add_column(heading, justify="left" if heading in ("metric", "") else "right")
    for each in found:
        sign = -1 if METRICS[each.metric].lower_is_better else 1
        sure = "" if each.low <= 0 <= each.high else ("better" if sign * each.value > 0 else "worse")
        table.add_row(
            each.metric if each.pairs == pairs else f"{each.metric} ({each.pairs:,} pairs)",
            f"{100 * each.first:.1f}",
            f"{100 * each.second:.1f}",
            f"{100 * each.value:+.1f}",
            f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
            f"{each.p:.4f}",
            "-" if each.needed is None else f"{each.needed:,}",
            sure,
        )
    Console().print(table)


def _print_tables(scores: "Scores", ceiling: "Scores | None", by_type: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{scores.n} examples, protocol {scores.protocol}, values x 100")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("examples", justify="right")
    if ceiling:
        table.add_column("one reference against the others", justify="right")
        table.add_column("examples", justify="right")
    for name, value in scores.values.items():
        row = [name, f"{100 * value:.1f}", str(scores.counts[name])]
        if ceiling and name in ceiling.values:
            row += [f"{100 * ceiling.values[name]:.1f}", str(ceiling.counts[name])]
        table.add_row(*row)
    console.print(table)
    for reason in dict.fromkeys(scores.skipped.values()):
        names = ", ".join(name for name, why in scores.skipped.items() if why == reason)
        console.print(f"skipped {names}: {reason}", highlight=False)
    if by_type:
        console.print(_type_table(scores) if scores.by_type else "by type: no example carries `change_type` or `truth`")
    if scores.details["note"]:
        console.print(f"note: {scores.details['note']}", style="yellow", highlight=False)
    versions = ", ".join(f"{library} {number}" for library, number in scores.versions.items())
    console.print(f"{scores.tokenizer}; {versions}", style="dim", highlight=False)


def _type_table(scores: "Scores") -> "Table":
    from rich.table import Table

    names = list(dict.fromkeys(name for row in scores.by_type.values() for name in row if name != "n"))
    table = Table("type", title="By change type, values x 100")
    for name in ("examples", *names):
        words = name.split("_")  # a long heading wraps between its words
        table.add_column(" ".join(words), justify="right", min_width=max(map(len, words)))
    for change_type, row in scores.by_type.items():
        values = [f"{100 * row[name]:.1f}" if name in row else "-" for name in names]
        table.add_row(change_type, str(int(row["n"])), *values)
    return table
