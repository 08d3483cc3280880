"""The command `idc-eval`."""

import json
from pathlib import Path
from typing import Any

import click

from idc_eval.mistakes import OneLineGroup
from idc_eval.options import annotations_option, metrics_option, no_change_option
from idc_eval.rating.commands import agreement_command, rate_command
from idc_eval.targets import Target, predictions_file, recorded, shown


def _note(text: str) -> None:
    click.echo(f"Note: {text}", err=True)


def _names(names: tuple[str, ...]) -> list[str]:
    return [name.strip() for part in names for name in part.split(",")]


@click.group(cls=OneLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
    "listed in the README. Default: all but meteor, which needs Java processes, and those that need models.",
)
@click.option(
    "--protocol", default="plain", show_default=True, help="Which pairs are scored and how; see `idc-eval protocols`."
)
@annotations_option
@no_change_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else; values 0..1 (CIDEr 0..10).")
@click.option("--ceiling", is_flag=True, help="Also score one reference of each pair against its other references.")
@click.option("--by-type", is_flag=True, help="Also show accuracies and rates by change type (JSON always has them).")
@click.option(
    "--by-difficulty", is_flag=True, help="Also show scores for each fifth of the pairs, ordered by difficulty."
)
def score_command(
    file: Path,
    metrics: tuple[str, ...],
    protocol: str,
    annotations: Path | None,
    no_change: tuple[str, ...],
    as_json: bool,
    ceiling: bool,
    by_type: bool,
    by_difficulty: bool,
) -> None:
    """Score FILE: predictions, one JSON object per line, or a format of other tools.

    \b
    A line:
      {"id": "7", "hypothesis": "the cube is gone", "references": ["the red cube is missing"],
       "changed": true, "change_type": "drop"}
    id, hypothesis and references are required; changed, change_type, truth, log_prob, familiar, swapped, change_map,
    regions, difficulty, before and after are optional. Also reads the output of `idc-caption --jsonl IN --out FILE`,
    and COCO results with --annotations.

    \b
    Examples:
      idc-eval score predictions.jsonl
      idc-eval score predictions.jsonl --metrics bleu,meteor,rouge-l,cider --ceiling
      idc-eval score predictions.jsonl --protocol clevr-change/semantic
      idc-eval score predictions.jsonl --json > scores.json
      idc-eval score results.json --annotations annotations.json
    """  # noqa: D301 - click reads the \b
    from idc_eval.meteor import Meteor
    from idc_eval.metrics import FAST_METRICS
    from idc_eval.prediction import read_predictions
    from idc_eval.score import reference_ceiling, score
    from idc_eval.tables import print_scores

    names = _names(metrics) or list(FAST_METRICS)
    with Meteor() as meteor:
        file = predictions_file(file)
        predictions = read_predictions(file, annotations=annotations, tell=_note)
        rules = {"protocol": protocol, "no_change": no_change}
        scores = score(predictions, names, meteor=meteor, images=file.parent, **rules)
        best = reference_ceiling(predictions, names, meteor=meteor, **rules) if ceiling else None
    if as_json:
        report = scores.summary() | ({"ceiling": best.summary()} if best else {})
        click.echo(json.dumps(report, indent=2))
    else:
        print_scores(scores, best, by_type=by_type, by_difficulty=by_difficulty)


@main.command("compare")
@click.argument("first", type=Target())
@click.argument("second", type=Target())
@metrics_option
@click.option("--protocol", default="", help="Score both under this protocol. Default: the protocol of the runs.")
@annotations_option
@no_change_option
@click.option(
    "--draws", type=click.IntRange(min=100), default=10_000, show_default=True, help="Random draws of each test."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def compare_command(
    first: Path,
    second: Path,
    metrics: tuple[str, ...],
    protocol: str,
    annotations: Path | None,
    no_change: tuple[str, ...],
    draws: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare two systems on the same pairs: is SECOND better than FIRST?

    \b
    The interval is a paired bootstrap's, p a randomisation test's. "pairs
    needed" estimates how many pairs are needed to detect a difference of this
    size. Both must have the same pairs, references and protocol. FIRST and
    SECOND are predictions files, folders of runs, or ids of MLflow runs.

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
    from idc_eval.tables import print_differences

    names = _names(metrics) or list(FAST_METRICS)
    rules, theirs = (recorded(target) for target in (first, second))
    if protocol:
        rules["protocol"] = protocol
    else:
        same_protocol(rules["protocol"], theirs["protocol"])
        protocol = rules["protocol"]
    rules["no_change"] = no_change or rules["no_change"] or theirs["no_change"]
    with Meteor() as meteor:
        one, other = (
            read_predictions(predictions_file(target), annotations=annotations, tell=_note)
            for target in (first, second)
        )
        differences = compare(one, other, names, draws=draws, seed=seed, meteor=meteor, **rules)
    if as_json:
        rows = [asdict(each) | {"difference": each.value} for each in differences]
        names = {"first": str(first), "second": str(second), "protocol": protocol}
        click.echo(json.dumps({**names, "draws": draws, "metrics": rows}, indent=2))
    else:
        print_differences(differences, f"{shown(second)} against {shown(first)}, protocol {protocol}")


@main.command("seeds")
@click.argument("runs", type=Target(), nargs=-1, required=True)
@metrics_option
@click.option("--protocol", default="", help="Score all under this protocol. Default: the protocol of each run.")
@annotations_option
@no_change_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def seeds_command(
    runs: tuple[Path, ...],
    metrics: tuple[str, ...],
    protocol: str,
    annotations: Path | None,
    no_change: tuple[str, ...],
    as_json: bool,
) -> None:
    """Summarise RUNS that differ only in their seed: mean, standard deviation and 95 % interval of each metric.

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
    from idc_eval.tables import print_aggregates

    names = _names(metrics) or list(FAST_METRICS)
    options: dict[str, Any] = {"protocol": protocol, "no_change": no_change}
    options = {name: value for name, value in options.items() if value}
    with Meteor() as meteor:
        scores = [
            score(
                read_predictions(predictions_file(run), annotations=annotations, tell=_note),
                names,
                meteor=meteor,
                **recorded(run) | options,
            )
            for run in runs
        ]
    aggregates = aggregate(scores)
    if as_json:
        rows = [asdict(each) for each in aggregates]
        click.echo(json.dumps({"runs": [*map(str, runs)], "protocol": scores[0].protocol, "metrics": rows}, indent=2))
    else:
        print_aggregates(aggregates, scores)


@main.command("report")
@click.argument("target", type=Target())
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: report.html beside the predictions."
)
@click.option("--metrics", multiple=True, metavar="NAMES", help="As for `score`. Default: those of scores.json.")
@click.option("--protocol", default="", help="As for `score`. Default: that of scores.json.")
@annotations_option
@no_change_option
@click.option(
    "--num", type=click.IntRange(min=1), default=200, show_default=True, help="Maximum number of pairs in the gallery."
)
@click.option("--title", default="", help="Default: the name in spec.json, or the name of TARGET.")
def report_command(
    target: Path,
    out: Path | None,
    metrics: tuple[str, ...],
    protocol: str,
    annotations: Path | None,
    no_change: tuple[str, ...],
    num: int,
    title: str,
) -> None:
    """Write a web page about TARGET: scores, plots and a gallery of pairs, in one self-contained file.

    TARGET is a predictions file, or a folder with predictions.jsonl and optionally scores.json, spec.json and
    curves.json ({"val/cider": [[step, value], ...], ...}).

    \b
    Examples:
      idc-eval report predictions.jsonl
      idc-eval report runs/7/artifacts --out seven.html --num 500
    """  # noqa: D301 - click reads the \b
    from idc_eval.report import report_folder

    rules: dict[str, Any] = {"metrics": _names(metrics), "protocol": protocol, "no_change": no_change}
    page, problems = report_folder(
        target, out=out, annotations=annotations, gallery=num, title=title, tell=_note, **rules
    )
    for problem in problems:
        click.echo(f"Warning: {problem}", err=True)
    click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


@main.command("protocols")
def protocols_command() -> None:
    """List the protocols: which pairs are scored, and how."""
    from idc_eval.tables import print_protocols

    print_protocols()


main.add_command(rate_command)
main.add_command(agreement_command)
