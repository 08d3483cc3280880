"""The description of the training data in a checkpoint: its name, statistics for `familiar`, example pairs."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from idc_data.example import ChangeExample, Reader, read_examples
from idc_data.images import load_pair
from idc_data.readers import open_reader, resolve_reader
from idc_data.strict_yaml import apply_override
from idc_data.transforms import PairedTransform
from idc_models.captioner import Captioner
from idc_models.description import Description
from idc_models.familiar import learn
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from idc_run.spec import Spec, make_spec
from idc_run.training.data import Data, open_data

_PAIRS = 512
"""Number of training pairs, and of validation pairs, that are read."""

_BATCH = 64

_EXAMPLE_PIXELS = 256
"""The longer side of an example image: enough for the page, in a few kilobytes."""

_REPEATS, _LONGEST_REPEAT = 1e-3, 8
"""Maximum share of references that repeat an n-gram; largest n to try."""


def described(checkpoint: Checkpoint, model: Captioner, data: Data) -> Checkpoint:
    """Return the checkpoint with a description of its training data; deterministic.

    Args:
        checkpoint: The checkpoint of a trained model.
        model: The model.
        data: The data it was trained on.
    """
    spec, progress = checkpoint.spec, checkpoint.progress
    rounds = progress["epoch"] if data.train.endless else 1
    name, shows = _name(spec)
    description = Description(
        dataset=name,
        shows=shows,
        pairs=len(data.train) * max(1, rounds),
        image_size=spec.data.image_size,
        no_repeat=_no_repeat(data),
        familiar=learn(model, _batches(data.train, spec, shuffled=True), _batches(data.val, spec)),
        examples=_examples(spec),
    )
    return replace(checkpoint, description=description)


def describe_file(path: Path, overrides: Sequence[str] = ()) -> str:
    """Add a description to a checkpoint in place, for example to an older one, and return a summary of it.

    Args:
        path: The checkpoint.
        overrides: `data.dataset=...`, for a dataset that has moved.

    Raises:
        ValueError: The file is not a checkpoint, an override sets something else, or the dataset cannot be opened.
        OSError: Files of the dataset are missing, or the checkpoint cannot be written.
    """
    checkpoint = load_checkpoint(path)
    values = checkpoint.spec.model_dump(mode="json", by_alias=True)
    for override in overrides:
        if not override.startswith("data.dataset"):
            raise ValueError(
                f"{override!r} does not apply to --describe; expected data.dataset=..., the current place of the "
                "dataset"
            )
        apply_override(values, override)
    spec = make_spec(values, str(path))
    data = open_data(spec, checkpoint.tokenizer)
    told = described(replace(checkpoint, spec=spec), checkpoint.build(), data)
    assert told.description is not None
    save_checkpoint(path, told)
    return f"trained on {told.description.sentence()}; {len(told.description.examples)} examples stored"


def _name(spec: Spec) -> tuple[str, str]:
    """Return the name of the dataset, without its path, and what it shows if its reader says so."""
    name = str(spec.completed()["data"]["dataset"]["name"])
    reader, settings = resolve_reader(spec.data.dataset)
    if name == "folder" or Path(name).is_dir():
        name = Path(settings["root"]).resolve().name
    return name, getattr(reader, "shows", f"the dataset {name}")


def _batches(reader: Reader, spec: Spec, *, shuffled: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs preprocessed as for evaluation; statistics of augmented images would make plain ones look foreign."""
    every = range(len(reader))
    rows = sorted(Random(0).sample(every, min(_PAIRS, len(every)))) if shuffled else every[:_PAIRS]
    transform = PairedTransform(spec.data.image_size)
    for start in range(0, len(rows), _BATCH):
        pairs = [transform(example, Random(0))[:2] for example in read_examples(reader, rows[start : start + _BATCH])]
        before, after = zip(*pairs, strict=True)
        yield torch.stack(before), torch.stack(after)


def _examples(spec: Spec) -> tuple[tuple[bytes, bytes], ...]:
    """Return the first validation pair of each change type and of no change, and more if there are few types."""
    num = spec.eval.examples
    if not num:
        return ()
    dataset: dict[str, Any] = (
        {"name": spec.data.dataset} if isinstance(spec.data.dataset, str) else dict(spec.data.dataset)
    )
    if "image_size" in resolve_reader(dataset)[1]:  # a reader that renders at any size
        dataset["image_size"] = max(_EXAMPLE_PIXELS, spec.data.image_size)
    reader = open_reader(dataset, "val")
    # Read in small steps: rendering at this size is slow, and the first few pairs are mostly enough.
    first: dict[str, ChangeExample] = {}
    rest: list[ChangeExample] = []
    rows = range(min(len(reader), _PAIRS))
    for start in range(0, len(rows), 8):
        for example in read_examples(reader, rows[start : start + 8]):
            kind = example.change_type if example.changed else ""
            if kind in first:
                rest.append(example)
            first.setdefault(kind, example)
        if len(first) >= num and "" in first:
            break
    unchanged = [first.pop("")] if "" in first else []
    chosen = [*first.values(), *rest][: num - len(unchanged)] + unchanged
    sides = (load_pair(example.before, example.after) for example in chosen)
    return tuple((_webp(before), _webp(after)) for before, after in sides)


def _webp(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    with Image.fromarray(pixels) as image:
        image.thumbnail((_EXAMPLE_PIXELS, _EXAMPLE_PIXELS))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=85, method=6)
    return file.getvalue()


def _no_repeat(data: Data) -> int:
    """Return the smallest n whose n-grams are hardly ever repeated within a reference; 0 if there is none."""
    counts = Counter(data.captions)
    tokens = {caption: data.tokenizer.encode(caption)[1:] for caption in counts}
    for num in range(2, _LONGEST_REPEAT + 1):
        if sum(counts[caption] for caption, ids in tokens.items() if _repeats(ids, num)) <= _REPEATS * counts.total():
            return num
    return 0


def _repeats(ids: Sequence[int], num: int) -> bool:
    grams = [tuple(ids[start : start + num]) for start in range(len(ids) - num + 1)]
    return len(set(grams)) < len(grams)
