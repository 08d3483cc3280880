"""A trained model on any dataset: predictions, scores and a report, and a run of its own."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idc_data.example import Reader, read_examples
from idc_data.readers import open_reader
from idc_data.strict_yaml import apply_override
from idc_data.tokenizers import Tokenizer
from idc_models.checkpoint import read_checkpoint
from idc_models.loading import find_checkpoint

from idc_run.checkpoint import Checkpoint, load_checkpoint
from idc_run.console import Console
from idc_run.spec import Spec, make_spec
from idc_run.tracking import artifacts, provenance
from idc_run.tracking.artifacts import Tested
from idc_run.tracking.store import store
from idc_run.tracking.tracker import open_tracker, recording
from idc_run.training.data import identity
from idc_run.training.ready import prepare
from idc_run.training.scoring import caption_split, examine

_FREE = (
    *("name", "tracking", "eval", "train.device", "train.threads"),
    *("data.dataset", "data.image_size", "data.workers"),
)
"""What may be set where nothing is trained: these settings, and those inside them."""


@dataclass(frozen=True)
class Outcome:
    """A test and where it is kept.

    Attributes:
        spec: The model's own, with the overrides.
        tested: What it found.
        folder: Where predictions, report and pictures are.
        run_id: Of the run, which may be none of MLflow's.
        notes: What to know about the scores.
    """

    spec: Spec
    tested: Tested
    folder: Path
    run_id: str
    notes: list[str]


def run_test(
    model: str, overrides: Sequence[str], console: Console, *, split: str = "test", out: Path | None = None
) -> Outcome:
    """Caption a split with a trained model and score it, decoded and scored as its own spec says.

    Args:
        model: As `find_checkpoint` takes it.
        overrides: Of the model's spec, such as `data.dataset=path`.
        console: Where progress is shown.
        split: test or val.
        out: A folder for predictions, report and pictures; by default one in `mlruns/tested/`.

    Raises:
        ValueError: There is no such model, split or setting, or the model does not take the images.
        OSError: Files of the dataset are missing, or `out` cannot be written.
    """
    path = find_checkpoint(model)
    held = load_checkpoint(path)
    spec, notes = spec_of_test(held, overrides)
    device = prepare(spec)
    reader = open_reader(spec.data.dataset, split, image_size=spec.data.image_size)
    network = read_checkpoint(path).model.to(device)  # without the objectives, which a shipped one has not
    weights = provenance.digest(network.state_dict())["sha256"][:12]
    notes += _strange_words(reader, held.tokenizer)
    if out is None:
        key = hashlib.sha256(f"{weights} {spec.fingerprint()}".encode()).hexdigest()[:12]
        out = store() / "tested" / f"{spec.name}-{split}-{key}"
    out.mkdir(parents=True, exist_ok=True)
    completed = spec.completed()
    dataset = (completed["data"]["dataset"]["name"], identity(spec, reader))
    came_from = provenance.collect(spec, {"test": dataset[1]}, device)
    tags = provenance.tags(spec, came_from) | {
        "tested.model": model,
        "tested.weights": weights,
        "tested.run": str(held.progress.get("run_id", "")),
        "tested.split": split,
    }
    tracker = open_tracker(spec.tracking, spec.eval.protocol, f"{split}/{spec.eval.select}")
    begin = (f"{spec.name} tested on {dataset[0]}", completed, tags, {split: dataset})
    with recording(tracker, *begin) as run_id, closing(console):
        tracker.json({"spec": completed, "provenance": came_from})
        try:
            predictions = caption_split(spec, network, reader, held.tokenizer, device, console, split, held.description)
        except (RuntimeError, AssertionError) as error:
            if (size := spec.data.image_size) == held.spec.data.image_size:
                raise
            trained = f"it was trained on {held.spec.data.image_size}"
            raise ValueError(f"the model takes no images of {size} x {size} pixels ({error}); {trained}") from error
        tested = examine(spec, predictions)
        tracker.metrics({f"{split}/{name}": value for name, value in tested.scores.values.items()}, 0)
        artifacts.log_results(spec, reader, tested, tracker, out=out)
    notes.append(
        f"These scores compare with others under protocol {spec.eval.protocol} on the same pairs ({tags['dataset']}): "
        f"`idc-eval compare` takes {out / 'predictions.jsonl'} and theirs"
    )
    return Outcome(spec, tested, out, run_id, notes)


def spec_of_test(held: Checkpoint, overrides: Sequence[str]) -> tuple[Spec, list[str]]:
    """The spec that a model is tested by, and what to know about it.

    Raises:
        ValueError: An override is of something that only training goes by.
    """
    values: dict[str, Any] = held.spec.completed() | {"register": None}
    for override in overrides:
        name = override.partition("=")[0].strip()
        if not any(f"{name}.".startswith(f"{free}.") for free in _FREE):
            raise ValueError(f"{name!r} is a setting of training; with --test expected one of {', '.join(_FREE)}")
        apply_override(values, override)
    spec, notes = make_spec(values, "the model's spec"), []
    trained_on, tested_on = (each.completed()["data"]["dataset"]["name"] for each in (held.spec, spec))
    protocol = spec.eval.protocol
    chosen = any(override.startswith(("eval.protocol=", "eval=")) for override in overrides)
    if trained_on != tested_on and not chosen and protocol.partition("/")[0] != "plain":
        notes.append(
            f"protocol {protocol} is for {trained_on}, on which the model was trained; this is scored as plain"
        )
        values["eval"]["protocol"] = "plain"
        spec = make_spec(values, "the model's spec")
    return spec, notes


def _strange_words(reader: Reader, tokenizer: Tokenizer) -> list[str]:
    """Say how many words of the references the model has never learnt, if they are more than a few."""
    examples = read_examples(reader, range(min(len(reader), 200)))
    references = [text for example in examples for text in example.references]
    unknown, words = (sum(len(of(text)) for text in references) for of in (tokenizer.unknown, tokenizer.tokens))
    strange = unknown / max(1, words)
    if strange < 0.05:
        return []
    return [f"{strange:.0%} of the words in the references are none that the model can say; it knows {tokenizer.size}"]
