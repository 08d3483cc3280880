"""Test a trained model on any dataset: predictions, scores, a report, and a tracked run."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idc_data.example import Reader, read_examples
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
from idc_run.training.data import identity, open_splits
from idc_run.training.ready import prepare
from idc_run.training.scoring import caption_split, examine

_FREE = (
    *("name", "tracking", "eval", "train.device", "train.threads"),
    *("data.dataset", "data.features", "data.image_size", "data.workers"),
)
"""Settings that may be overridden for a test, including those inside them."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a test.

    Attributes:
        spec: The spec of the model, with the overrides.
        tested: The results.
        folder: The folder with predictions, report and pictures.
        run_id: The id of the run.
        notes: Notes on the scores.
    """

    spec: Spec
    tested: Tested
    folder: Path
    run_id: str
    notes: list[str]


def run_test(
    model: str, overrides: Sequence[str], console: Console, *, split: str = "test", out: Path | None = None
) -> Outcome:
    """Caption a split with a trained model and score it, with the settings of the model's spec.

    Args:
        model: A model as for `find_checkpoint`.
        overrides: Overrides of the model's spec, such as `data.dataset=path`.
        console: Shows progress.
        split: test or val.
        out: Folder for predictions, report and pictures; default: a folder in `mlruns/tested/`.

    Raises:
        ValueError: There is no such model, split or setting, or the model does not accept the images.
        OSError: Files of the dataset are missing, or `out` cannot be written.
    """
    path = find_checkpoint(model)
    held = load_checkpoint(path)
    spec, notes = spec_of_test(held, overrides)
    device = prepare(spec)
    (reader,) = open_splits(spec, split)
    network = read_checkpoint(path).model.to(device)  # without the objectives, which shipped models lack
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
            raise ValueError(
                f"the model does not accept images of {size} x {size} pixels ({error}); {trained}"
            ) from error
        tested = examine(spec, predictions)
        tracker.metrics({f"{split}/{name}": value for name, value in tested.scores.values.items()}, 0)
        artifacts.log_results(spec, reader, tested, tracker, out=out)
    notes.append(
        f"These scores are comparable with others under protocol {spec.eval.protocol} on the same pairs "
        f"({tags['dataset']}): use `idc-eval compare` with {out / 'predictions.jsonl'}"
    )
    return Outcome(spec, tested, out, run_id, notes)


def spec_of_test(held: Checkpoint, overrides: Sequence[str]) -> tuple[Spec, list[str]]:
    """Return the spec for testing a model, and notes about it.

    Raises:
        ValueError: An override sets something that only training uses.
    """
    values: dict[str, Any] = held.spec.completed() | {"register": None}
    for override in overrides:
        name = override.partition("=")[0].strip()
        if not any(f"{name}.".startswith(f"{free}.") for free in _FREE):
            raise ValueError(f"{name!r} is a training setting; with --test expected one of {', '.join(_FREE)}")
        apply_override(values, override)
    spec, notes = make_spec(values, "the model's spec"), []
    trained_on, tested_on = (each.completed()["data"]["dataset"]["name"] for each in (held.spec, spec))
    protocol = spec.eval.protocol
    chosen = any(override.startswith(("eval.protocol=", "eval=")) for override in overrides)
    if trained_on != tested_on and not chosen and protocol.partition("/")[0] != "plain":
        notes.append(
            f"protocol {protocol} is for {trained_on}, the dataset of the training; this dataset is scored under plain"
        )
        values["eval"]["protocol"] = "plain"
        spec = make_spec(values, "the model's spec")
    return spec, notes


def _strange_words(reader: Reader, tokenizer: Tokenizer) -> list[str]:
    """Return a note on the share of words in the references that the model does not know, if it is notable."""
    examples = read_examples(reader, range(min(len(reader), 200)))
    references = [text for example in examples for text in example.references]
    unknown, words = (sum(len(of(text)) for text in references) for of in (tokenizer.unknown, tokenizer.tokens))
    strange = unknown / max(1, words)
    if strange < 0.05:
        return []
    return [f"{strange:.0%} of the words in the references are not among the {tokenizer.size} tokens of the model"]
