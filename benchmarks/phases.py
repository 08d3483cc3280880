"""Time to the first step, training and test phase of `idc-run`, by the code of two commits in turn on one machine.

    uv run benchmarks/phases.py d77c5fa HEAD

Each commit is checked out beside the other and runs one spec a few times, one after the other, with this environment's
libraries. Times are wall clock: from the start of the process to its first optimizer step; to the first line of an
epoch, which has been validated then; and from there to its end: describe, test, report. The ratio of two commits is
that of their medians, and says something only where both had the machine to themselves, or shared it alike.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
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
import sys, time
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_post_hook
mark = Path(sys.argv.pop(1))
def stepped(*_):
    if not mark.exists():
        mark.write_text(str(time.monotonic()))
register_optimizer_step_post_hook(stepped)
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
                click.echo(f"{commit}: " + ", ".join(f"{n} {t:.2f} s" for n, t in took[commit][-1].items()))
    for commit in commits:
        click.echo(described(commit))
    for phase in PHASES:
        one, other = (median(each[phase] for each in took[commit]) for commit in commits)
        click.echo(f"{phase:10s}  {one:6.2f} s -> {other:6.2f} s, {one / other:.2f} x")
    click.echo(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}))


def source_path(tree: Path) -> str:
    """What a process runs the code of a checkout with."""
    return os.pathsep.join(map(str, [entry_points(tree), tree / "src", *tree.glob("packages/*/src")]))


def phases(tree: Path, path: str, spec: str, overrides: Sequence[str]) -> dict[str, float]:
    """Run a spec with the sources of a checkout and time what it does, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "mlruns").mkdir()
        mark = Path(name) / "step"
        words = [str(tree / spec), *(word for each in overrides for word in ("-s", each))]
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-u", "-c", CHILD, str(mark), *words],
            cwd=name,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            trained, said = 0.0, []
            for line in process.stdout:
                said.append(line)
                if line.startswith("epoch") and not trained:
                    trained = time.monotonic()
        if process.returncode:
            raise click.ClickException("".join(said))
        stepped = float(mark.read_text())
        return dict(zip(PHASES, (stepped - began, trained - stepped, time.monotonic() - trained), strict=True))


if __name__ == "__main__":
    main()
