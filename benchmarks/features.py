"""An epoch on a frozen backbone: features from the cache, against images, and against one float32 `.npy` per image.

    uv run benchmarks/features.py

Two things are timed, alternately, in one run. Reading: training batches without a model; images are decoded and
resized, features are read. Epochs: encoding images where necessary, and one optimizer step per batch, for a model with
difference fusion and an LSTM. The `.npy` files are stored as in published repositories, `c h w`.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch
from idc_data.batch import Batch
from idc_data.contents import contents
from idc_data.example import ChangeExample, Reader
from idc_data.feature_file import WithFeatures, feature_file
from idc_data.images import load_image
from idc_data.layout import Folder, write_layout
from idc_data.loader import train_batches
from idc_data.readers import open_reader
from idc_data.spec import DataSpec
from idc_data.tokenizers.words import Words
from idc_models.captioner import Captioner
from idc_models.images import squeeze
from idc_models.spec import ModelSpec, build_captioner

MODEL = {
    "encoder": {"name": "torchvision", "backbone": "resnet101", "level": -2, "frozen": True},  # random weights
    "fusion": {"name": "difference", "dim": 128},
    "decoder": {"name": "lstm", "dim": 128},
}


class Files(Folder):
    """Pairs with a `.npy` file next to each image."""

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        example = super().__getitem__(index)
        assert isinstance(example.before, Path) and isinstance(example.after, Path)
        return replace(example, inputs=(example.before.with_suffix(".npy"), example.after.with_suffix(".npy")))


@click.command()
@click.option("--pairs", default=192, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Of reading; epochs with features as many, others two.")
def main(pairs: int, rounds: int) -> None:
    """Compare the three on rendered pairs of 224 px, on one core."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scenes = open_reader({"name": "scenes"}, "train", image_size=224)
        write_layout(root, (scenes[index] for index in range(pairs)))
        images = Folder("train", root=root)
        tokenizer = Words.train([text for each in images for text in each.references], max_length=40)
        torch.manual_seed(0)
        model = build_captioner(ModelSpec.model_validate(MODEL), tokenizer, {"caption": 1.0}).train()
        began = time.perf_counter()
        kept = _cache(images, model, root)
        click.echo(f"computing the features once: {2 * pairs / (time.perf_counter() - began):.1f} images/s")
        ways: dict[str, Reader] = {"images": images, "one .npy an image": Files("train", root=root), "cache": kept}

        def seconds(name: str, learn: bool) -> float:
            model.kept = kept[0].inputs[0].shape if name != "images" else None  # pyright: ignore
            began = time.perf_counter()
            for batch in islice(train_batches(ways[name], tokenizer, SPEC, seed=0), pairs // SPEC.batch_size):
                if learn:
                    _step(model, batch, optimizer, published=name == "one .npy an image")
            return time.perf_counter() - began

        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        _compare("reading", ways, pairs, rounds, lambda name: seconds(name, False), {})
        _compare("epoch", ways, pairs, rounds, lambda name: seconds(name, True), {"images": 2})
    click.echo(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}))


SPEC = DataSpec(image_size=224, batch_size=16, workers=0)


def _cache(images: Folder, model: Captioner, root: Path) -> Reader:
    """Compute the features, as one file and as one file per image."""
    found = contents(images, root / "known.json")

    @torch.inference_mode()
    def compute(rows: Sequence[int]) -> np.ndarray:
        batch = torch.stack([squeeze(load_image(found.images[row]), SPEC.image_size) for row in rows])
        grids = model.encoder(batch.contiguous(memory_format=torch.channels_last).float() / 255).numpy()
        for row, grid in zip(rows, grids, strict=True):
            image = found.images[row]
            assert isinstance(image, Path)
            np.save(image.with_suffix(".npy"), np.ascontiguousarray(np.moveaxis(grid, -1, 0)))
        return grids

    file = feature_file(root / "kept.npy", len(found.images), compute, batch=16)
    for example, (before, after) in zip(images, found.rows, strict=True):  # images that occur twice have one row
        for side, row in ((example.before, before), (example.after, after)):
            other = found.images[row]
            assert isinstance(side, Path) and isinstance(other, Path)
            if not side.with_suffix(".npy").exists():
                side.with_suffix(".npy").symlink_to(other.with_suffix(".npy"))
    return WithFeatures(images, file, found.rows)


def _step(model: Captioner, batch: Batch, optimizer: torch.optim.Optimizer, *, published: bool) -> None:
    if published:
        batch = replace(batch, before=batch.before.movedim(1, -1), after=batch.after.movedim(1, -1))
    loss = model.loss(batch)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _compare(
    what: str, ways: dict[str, Reader], pairs: int, rounds: int, run: Callable[[str], float], fewer: dict[str, int]
) -> None:
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in ways:
            if turn < fewer.get(name, rounds):
                took[name].append(run(name))
    rates = {name: pairs / median(each) for name, each in took.items()}
    spread = {name: f"{pairs / max(each):.0f} to {pairs / min(each):.0f}" for name, each in took.items()}
    for name, rate in rates.items():
        click.echo(f"{what:8} {name:18} {rate:9.1f} pairs/s ({spread[name]}); the cache {rates['cache'] / rate:6.2f} x")


if __name__ == "__main__":
    main()
