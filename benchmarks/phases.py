"""Phases of `idc-run` (to the first step, training, test) with the code of two commits, alternately on one machine.

    uv run benchmarks/phases.py d77c5fa HEAD

Each commit is checked out and runs the same spec several times with this environment's libraries. Phases: from the
start of the process to its first optimizer step; from there to the first line of an epoch, after its validation; and
from there to the end: description, test, report. The ratio of two commits is that of their medians. On a busy machine,
CPU seconds are more reliable. They count a process when it ends, so loader workers count in the phase in which they
end.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))
from same_training import checkout, described, entry_points  # noqa: E402

PHASES = ("first step", "training", "test")
SHORT = ("train.epochs=1", "data.dataset={name: scenes, train_pairs: 640, val_pairs: 64, test_pairs: 1000}")
ALWAYS = ("train.device=cpu", "register=null")
CHILD = """
import json, os, resource, sys, time
from pathlib import Path
marks, first = Path(sys.argv.pop(1)), []
def mark():
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with marks.open("a") as file:
        file.write(json.dumps([time.monotonic(), sum(each.ru_utime + each.ru_stime for each in use)]) + "\\n")
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: first or first.append(mark()))
from idc_run.console import Console
told = Console.epoch
def epoch(*words, **more):
    mark()
    told(*words, **more)
Console.epoch = epoch
from idc_run.cli import run
sys.argv[0] = "idc-run"
run()
"""


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--spec", default="experiments/transformer_concat.yaml", show_default=True, help="Both commits have it.")
@click.option("-s", "overrides", multiple=True, help="dotted.path=value; by default 640 pairs, 1000 to test.")
@click.option("--tracking", type=click.Choice(("off", "mlflow")), default="off", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(first: str, second: str, spec: str, overrides: tuple[str, ...], tracking: str, rounds: int) -> None:
    """Compare the phases of runs with the commits FIRST and SECOND."""
    commits, took = (first, second), {commit: [] for commit in (first, second)}
    with ExitStack() as stack:
        trees = {commit: stack.enter_context(checkout(commit)) for commit in commits}
        paths = {commit: source_path(tree) for commit, tree in trees.items()}
        for turn in range(rounds):
            for commit in commits if turn % 2 == 0 else commits[::-1]:
                words = [*(overrides or SHORT), *ALWAYS, f"tracking={tracking}"]
                took[commit].append(phases(trees[commit], paths[commit], spec, words))
                click.echo(
                    f"{commit}: " + ", ".join(f"{n} {t:.1f} s (CPU {c:.1f})" for n, (t, c) in took[commit][-1].items())
                )
    for commit in commits:
        click.echo(described(commit))
    for phase in PHASES:
        for what, name in enumerate(("wall clock", "CPU")):
            one, other = (median(each[phase][what] for each in took[commit]) for commit in commits)
            click.echo(f"{phase:10s}  {name:10s}  {one:6.2f} s -> {other:6.2f} s, {one / other:.2f} x")
    click.echo(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}))


def source_path(tree: Path) -> str:
    """Return the environment for running the code of a checkout."""
    return os.pathsep.join(map(str, [entry_points(tree), tree / "src", *tree.glob("packages/*/src")]))


def phases(tree: Path, path: str, spec: str, overrides: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Run a spec with the sources of a checkout; return wall-clock and CPU seconds of each phase."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "mlruns").mkdir()
        file = Path(name) / "marks"
        words = [str(tree / spec), *(word for each in overrides for word in ("-s", each))]
        command = [sys.executable, "-c", CHILD, str(file), *words]
        began = (time.monotonic(), used())
        done = subprocess.run(command, cwd=name, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(f"{done.stdout}{done.stderr}")
        stepped, trained = (json.loads(line) for line in file.read_text().splitlines()[:2])
        ended = (time.monotonic(), used() - began[1])
        marks = [(began[0], 0.0), stepped, trained, ended]
        spans = [(later[0] - one[0], later[1] - one[1]) for one, later in pairwise(marks)]
        return dict(zip(PHASES, spans, strict=True))


def used() -> float:
    """Return the CPU seconds of all ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
