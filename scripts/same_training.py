"""Train one spec with the code of two commits and compare every loss and every weight, bit for bit.

    uv run scripts/same_training.py d77c5fa HEAD

A change that does not affect the computation must not change them. Each commit is checked out in a temporary worktree
and run there with this environment's libraries, one after the other on this machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from safetensors import safe_open
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
SHORT = (
    "train.epochs=1",
    "data.dataset={name: scenes, train_pairs: 640, val_pairs: 64, test_pairs: 8}",
    "eval.metrics=[cider]",
)
"""Ten steps of the default spec."""
ALWAYS = ("train.log_every=1", "train.device=cpu", "tracking=off", "register=null")


@dataclass(frozen=True)
class Training:
    """The result of a run: the loss of each step, and the final weights."""

    losses: list[list[float]]
    weights: dict[str, Tensor]


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--spec", default="experiments/transformer_concat.yaml", show_default=True, help="Both commits have it.")
@click.option("-s", "overrides", multiple=True, help="dotted.path=value; by default one epoch of 640 pairs.")
def main(first: str, second: str, spec: str, overrides: tuple[str, ...]) -> None:
    """Compare training with the commits FIRST and SECOND."""
    trained = []
    for commit in (first, second):
        with checkout(commit) as tree:
            click.echo(f"training with {described(commit)}")
            trained.append(train(tree, spec, [*(overrides or SHORT), *ALWAYS]))
    problems = differences(*trained)
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(1)
    one = trained[0]
    numbers = sum(value.numel() for value in one.weights.values())
    click.echo(f"equal bit for bit: {len(one.losses)} losses, {len(one.weights)} tensors of {numbers:,} weights")


def described(commit: str) -> str:
    """Return short hash and subject of a commit."""
    return subprocess.check_output(["git", "log", "-1", "--format=%h  %s", commit], cwd=ROOT, text=True).strip()


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Yield a temporary folder with the files of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def train(tree: Path, spec: str, overrides: list[str]) -> Training:
    """Run a spec with the sources of a checkout, and read its result."""
    sources = [tree / "src", *tree.glob("packages/*/src")]
    path = os.pathsep.join(map(str, [entry_points(tree), *sources]))
    command = [sys.executable, "-m", "idc_run", spec, *(word for each in overrides for word in ("-s", each))]
    (tree / "mlruns").mkdir(exist_ok=True)
    ended = subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if ended.returncode:
        raise click.ClickException(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    (best,) = tree.glob("mlruns/checkpoints/*/*/best.safetensors")
    with safe_open(best, "pt") as file:
        names = [name for name in [*file.keys()] if name.startswith("model/")]
        weights = {name: file.get_tensor(name).clone() for name in names}
        return Training(json.loads(file.metadata()["progress"])["losses"], weights)


def entry_points(tree: Path) -> Path:
    """Write the entry points of a checkout's packages, which may differ from the installed ones."""
    folder = tree / ".entry_points"
    for file in [tree / "pyproject.toml", *tree.glob("packages/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text())["project"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = project.get("entry-points", {}) | {"console_scripts": project.get("scripts", {})}
        lines = []
        for group, names in groups.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def differences(first: Training, second: Training) -> list[str]:
    """Return the differences between two results; empty if they are equal bit for bit."""
    problems = []
    if len(first.losses) != len(second.losses):
        problems.append(f"{len(first.losses)} steps and {len(second.losses)}")
    other = [pair for pair in zip(first.losses, second.losses, strict=False) if pair[0] != pair[1]]
    if other:
        (step, loss), (_, theirs) = other[0]
        problems.append(f"losses differ from step {int(step)} on, {loss!r} and {theirs!r}, in {len(other)} steps")
    if names := first.weights.keys() ^ second.weights.keys():
        problems.append(f"only one has {', '.join(sorted(names))}")
    for name in sorted(first.weights.keys() & second.weights.keys()):
        ours, theirs = first.weights[name], second.weights[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            problems.append(f"{name}: {ours.dtype} {list(ours.shape)} and {theirs.dtype} {list(theirs.shape)}")
        elif not torch.equal(ours, theirs):
            problems.append(f"{name}: differs by up to {(ours.double() - theirs.double()).abs().max():.3g}")
    return problems


if __name__ == "__main__":
    main()
