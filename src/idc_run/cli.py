"""The commands `idc-run`, `idc-table` and `idc-champion`: parse, call, print."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idc_run.errors import OneLineErrors

if TYPE_CHECKING:
    from idc_run.console import Console


@click.command(
    cls=OneLineErrors,
    stopped="stopped; --resume continues from the last checkpoint; if there was none yet, run the same command again",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@click.option(
    "-s", "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override one value of the spec; repeatable."
)
@click.option("--check", is_flag=True, help="Validate the spec, build the model and try one batch; writes nothing.")
@click.option("--resume", is_flag=True, help="Continue the newest unfinished run of the same spec. A sweep "
              "always continues; with --resume it also retries failed trials.")  # fmt: skip
@click.option("--from-run", metavar="RUN_ID", help="Instead of SPEC: repeat a run from its record in MLflow.")
@click.option("--test", "model", metavar="MODEL", help="Instead of SPEC: score a trained model on -s data.dataset=...: "
              "a shipped model (scenes), a checkpoint, or models:/NAME@ALIAS.")  # fmt: skip
@click.option("--split", type=click.Choice(("test", "val")), help="With --test: the split to score; default: test.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="With --test: folder for predictions, "
              "report and pictures; default: a folder in mlruns/tested/.")  # fmt: skip
@click.option("--describe", type=click.Path(path_type=Path), metavar="CHECKPOINT", help="Instead of SPEC: add a "
              "description of its training data to an older checkpoint; reads the dataset.")  # fmt: skip
def run(
    spec: Path | None,
    overrides: tuple[str, ...],
    check: bool,
    resume: bool,
    from_run: str | None,
    model: str | None,
    split: str | None,
    out: Path | None,
    describe: Path | None,
) -> None:
    """Run the experiment in the YAML file SPEC: train, validate, test, track and register.

    \b
    Examples:
      idc-run experiments/transformer_concat.yaml
      idc-run experiments/lstm_difference.yaml -s train.epochs=2 -s seed=1
      idc-run experiments/transformer_concat.yaml --check
      idc-run experiments/transformer_concat.yaml --resume     # after it was stopped or killed
      idc-run --from-run 1f0e...                                # reports changes in code, data and packages
      idc-run --test scenes -s data.dataset=path/to/folder      # with the decoding settings of its spec
      idc-run --describe best.safetensors -s data.dataset=path/to/data
      torchrun --nproc-per-node 2 -m idc_run experiments/transformer_concat.yaml

    A spec with a `sweep:` section is a search. Run the same command in other terminals to join it, or again to
    continue.

    experiments/forkme.yaml explains every setting. Runs are stored in mlruns/ or at MLFLOW_TRACKING_URI; compare them
    with `mlflow ui`.
    """  # noqa: D301 - click reads the \b
    if [spec, from_run, model, describe].count(None) != 3:
        raise ValueError(
            "expected exactly one of: a SPEC file such as experiments/transformer_concat.yaml, --from-run RUN_ID, "
            "--test MODEL, --describe CHECKPOINT"
        )
    if (model or describe) and (check or resume):
        given = "--test" if model else "--describe"
        raise ValueError(f"{given} does not train, so --check and --resume do not apply; omit them")
    if model is None and (split or out):
        raise ValueError(
            "--split and --out need --test MODEL; a run is tested on the test split and stores its files in MLflow"
        )
    if from_run and resume:
        raise ValueError("--resume continues a run, --from-run repeats one from the start; give only one of them")
    from idc_run.console import Console
    from idc_run.spec import load_values, make_spec
    from idc_run.tracking.naming import run_name
    from idc_run.training import experiment
    from idc_run.training.role import Alone

    if describe:
        from idc_run.training.describe import describe_file

        click.echo(f"{describe}: {describe_file(describe, overrides)}")
        return
    console = Console(quiet=os.environ.get("RANK", "0") != "0")
    if model is not None:
        _test(model, overrides, console, split or "test", out)
        return
    if spec is None:
        from idc_run.training.repeat import repeat

        repeat(str(from_run), overrides, console, check=check)
        return
    values = load_values(spec, overrides)
    loaded = make_spec(values, str(spec))
    if check:
        if loaded.sweep:
            from idc_run.sweeps.study import check_sweep

            check_sweep(values, loaded)
        experiment.check(loaded, console)
    elif loaded.sweep:
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise ValueError("a sweep cannot run under torchrun; start idc-run once per GPU instead")
        from idc_run.sweeps import finish, study, work

        opened = study.open_sweep(values, again=resume)
        work.work(opened, console)
        finish.finish(opened, console)
    else:
        name = run_name(loaded.name, overrides, load_values(spec))
        experiment.run(loaded, console, Alone(name, resume=resume))


def _test(model: str, overrides: tuple[str, ...], console: "Console", split: str, out: Path | None) -> None:
    from idc_eval.tables import print_scores

    from idc_run.training.testing import run_test

    found = run_test(model, overrides, console, split=split, out=out)
    print_scores(found.tested.scores, found.tested.ceiling, by_type=False, by_difficulty=False)
    for note in found.notes:
        console.say(note)
    console.say(f"{found.folder}: predictions.jsonl, report.html, scores.json, samples.png")


@click.command(cls=OneLineErrors, stopped="stopped", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option("--metric", default="", help="Metric to rank by; default: the one that chose the checkpoints.")
@click.option("--metrics", default="", help="Comma-separated columns; default: the common metrics.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("docs/results"), show_default=True
)
def table(name: str, metric: str, metrics: str, out: Path) -> None:
    """Summarise the tested trials of the sweep NAME over seeds: a Markdown page, a CSV file and a picture.

    \b
    Example:
      idc-table fusion-by-decoder
    """  # noqa: D301 - click reads the \b
    from idc_run.sweeps.table import columns, read_table
    from idc_run.sweeps.table_page import markdown, write_table

    found = read_table(name, metric)
    shown = columns(found, metrics)
    page = write_table(found, out, shown)
    click.echo(markdown(found, shown))
    click.echo(f"{page}, with a .csv and a .png next to it")


@click.command(cls=OneLineErrors, stopped="stopped", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False)
@click.argument("version", required=False)
def champion(model: str | None, version: str | None) -> None:
    """List the registered versions of MODEL with their scores, or make VERSION its champion.

    \b
    Examples:
      idc-champion            # list the registered models
      idc-champion idc        # list the versions of one
      idc-champion idc 7      # make version 7 the champion, whatever its score

    Automatically, the alias moves only to a version with a better score by the same metric and protocol on the same
    validation pairs (docs/serving.md).
    """  # noqa: D301 - click reads the \b
    from idc_run.tracking.champion import models, promote, versions

    if model is None:
        click.echo(
            "\n".join(models())
            or "there are no registered models; idc-run registers one if the spec has a `register` section"
        )
    elif version is None:
        for each in versions(model):
            words = [f"models:/{model}/{each.number}", each.score, each.terms, each.created, f"run {each.run}"]
            click.echo("  ".join([*words, *(["champion"] if each.champion else [])]))
    else:
        old = promote(model, version)
        was = f" (it was {old})" if old else ""
        click.echo(
            f"models:/{model}@champion is now version {version}{was}; running servers keep the version they have loaded"
        )
