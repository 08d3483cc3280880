"""Turn a trained model into one that ships with idc-models: half the size, the same answers, with a model card.

    uv run scripts/ship.py mlruns/checkpoints/transformer-concat-FINGERPRINT/RUN scenes

Large matrices and kernels become float16. Small ones and vectors stay as they are: together they take little, and the
last layer, which chooses between synonyms that are nearly as likely, is among them. All that a checkpoint knows beside
its model stays too. What only training needs is left out: the optimizer's moments, and objectives with their
parameters. The command refuses where captions of the validation pairs change.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from idc_data.example import Reader, read_examples
from idc_data.readers import open_reader
from idc_eval.metrics import metric_names, shown
from idc_eval.score import Scores
from idc_models.checkpoint import MODEL, Contents, open_checkpoint, read_checkpoint, write_contents
from idc_models.loading import SHIPPED, find_checkpoint
from idc_models.serving.inference import Caption, PairCaptioner
from torch import Tensor

from idc_run.checkpoint import load_checkpoint, save_checkpoint
from idc_run.console import Console
from idc_run.errors import OneLineErrors
from idc_run.spec import Spec, load_spec, make_spec
from idc_run.tracking.mlflow_tracker import flatten
from idc_run.training.testing import run_test

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 2_000_000
LARGE = 10_000
"""Minimum size of a tensor to store in half precision."""


@dataclass(frozen=True)
class Fidelity:
    """Differences between answers in half and in full precision.

    Attributes:
        pairs: of the validation split.
        captions: which are other ones.
        changed: largest difference of the probabilities of a change.
        log_prob: largest difference of the log-probabilities, in nats, where the captions agree.
    """

    pairs: int
    captions: int
    changed: float
    log_prob: float


@click.command(cls=OneLineErrors, stopped="stopped; nothing was written")
@click.argument("source")
@click.argument("name")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=SHIPPED, help="Where to write.")
@click.option("--pairs", type=click.IntRange(1), default=500, show_default=True, help="Validation pairs to compare.")
@click.option("--most-different", type=click.FloatRange(0, 1), default=0.004, show_default=True, help="Largest part of "
              "them whose captions may differ.")  # fmt: skip
def ship(source: str, name: str, folder: Path, pairs: int, most_different: float) -> None:
    """Write the checkpoint SOURCE (a run's folder, a file, models:/...) as the model NAME, and its card NAME.md."""
    contents = open_checkpoint(find_checkpoint(source))
    spec = make_spec(contents.plain("spec", dict), source)
    val = open_reader(spec.data.dataset, "val", image_size=spec.data.image_size)
    with tempfile.TemporaryDirectory() as temporary:
        if contents.frozen():  # a shipped model holds all weights
            whole = Path(temporary) / "whole.safetensors"
            save_checkpoint(whole, load_checkpoint(contents.path).self_contained())
            contents = open_checkpoint(whole)
        half = Path(temporary) / f"{name}.safetensors"
        write_contents(half, contents.metadata, halved(contents))
        if (size := half.stat().st_size) > MOST_BYTES:
            raise ValueError(f"{source} takes {size:,} bytes in half precision; expected at most {MOST_BYTES:,}")
        found = compare(contents.path, half, val, pairs)
        click.echo(f"{found.captions} of {found.pairs} captions differ; changed by {found.changed:.1e}")
        if found.captions > most_different * found.pairs:
            raise ValueError(f"in half precision {found.captions} of {found.pairs} captions are other ones")
        tested = run_test(str(half), ["tracking=off"], Console(), out=Path(temporary, "tested")).tested.scores
        card = write_card(name, contents, spec, half, found, tested)
        folder.mkdir(parents=True, exist_ok=True)
        half.chmod(0o644)  # the library creates it with owner-only permissions
        shutil.move(half, folder / half.name)
        (folder / f"{name}.md").write_text(card, encoding="utf-8")
    click.echo(f"{folder / half.name}: {size:,} bytes, and {name}.md beside it")


def halved(contents: Contents) -> dict[str, Tensor]:
    """Return the tensors to ship, the large ones in half precision."""
    return {
        name: value.half() if name.startswith(MODEL) and value.numel() >= LARGE and value.is_floating_point() else value
        for name, value in contents.tensors.items()
        if not name.startswith(("training/", f"{MODEL}objectives."))
    }


def compare(full: Path, half: Path, val: Reader, pairs: int) -> Fidelity:
    """Caption validation pairs with both models."""
    images = [(example.before, example.after) for example in read_examples(val, range(min(pairs, len(val))))]
    answers: list[list[Caption]] = [PairCaptioner(path).caption(images) for path in (full, half)]
    both = list(zip(*answers, strict=True))
    return Fidelity(
        pairs=len(both),
        captions=sum(one.caption != other.caption for one, other in both),
        changed=max(abs((one.changed or 0) - (other.changed or 0)) for one, other in both),
        log_prob=max(abs(one.log_prob - other.log_prob) for one, other in both if one.caption == other.caption),
    )


def write_card(name: str, contents: Contents, spec: Spec, half: Path, found: Fidelity, tested: Scores) -> str:
    """Return the model card, from the contents of the checkpoint."""
    progress, data = contents.plain("progress", dict), spec.completed()["data"]["dataset"]
    parameters = sum(value.numel() for value in read_checkpoint(half).model.parameters())
    settings = ", ".join(f"{key} {value}" for key, value in data.items() if key != "name")
    names = [each for each in metric_names(spec.eval.metrics) if each in tested.values]
    scores = "\n".join(f"| {each} | {shown(each, tested.values[each])} |" for each in names)
    return f"""\
# {name}

Says in one English sentence what changed between two images. It ships with idc-models: `idc_models.load("{name}")`,
`idc-caption {name} before.png after.png`, `idc-app {name}`.

| | |
|---|---|
| model | {", ".join(f"{part.name} {kind}" for kind, part in spec.model)}; {parameters:,} parameters |
| images | {spec.data.image_size} x {spec.data.image_size} pixels; others are scaled to that |
| trained by | `{command(spec)}` |
| trained on | {data["name"]} of idc-data ({settings}) |
| training | seed {spec.seed}, {progress["epoch"]} epochs, {progress["step"]:,} steps |
| validation | {spec.eval.select} {shown(spec.eval.select, progress["best"])}, which chose this checkpoint |
| file | {half.stat().st_size:,} bytes of safetensors: large matrices in float16, the rest in float32 |
| against full precision | {found.captions} of {found.pairs} validation captions differ; `changed` by at most \
{found.changed:.1e}, `log_prob` by at most {found.log_prob:.1e} |
| licence | Apache-2.0, as this package; its training data are rendered by this project |

## Scores

Of this very file on {tested.n:,} test pairs, under protocol `{tested.protocol}`, with a beam of {spec.eval.beam}. They
are measured again by `idc-run --test {name}`.

| | x 100, or % |
|---|---|
{scores}

## Limits

It knows nothing but what it was trained on. It captions other images too, with words of that data only, and what it
says of them means nothing: such an answer has `familiar` below 0.5, and a note. Scores hold for pairs of the same kind,
and for these settings.

Written by `scripts/ship.py`.
"""


def command(spec: Spec) -> str:
    """Return the command that trains such a model: the most similar experiment, with overrides."""
    wanted = flatten(spec.completed())
    best: tuple[int, str] | None = None
    for path in sorted((ROOT / "experiments").glob("*.yaml")):
        try:
            known = flatten(load_spec(path).completed())
        except (ValueError, OSError):
            continue  # it needs generated data
        settings = [f"-s {key}={value}" for key, value in wanted.items() if known.get(key) != value]
        text = " ".join(["uv run idc-run", path.relative_to(ROOT).as_posix(), *settings])
        best = min(best or (len(settings), text), (len(settings), text))
    assert best is not None
    return best[1]


if __name__ == "__main__":
    ship()
