"""How well a checkpoint tells foreign images from its own: AUROC, and the share of pairs with a warning.

    uv run benchmarks/familiar.py scenes photos=path/to/photos satellite=path/to/tiles

Familiar pairs come from the test split of the checkpoint's dataset. Foreign pairs are consecutive images below each
folder, and generated ones: noise, blank images, gradients, text. Two more rows: a familiar image before a foreign one,
and familiar pairs as JPEG files, which should not cause warnings. The distance in use (Mahalanobis, of mean and
standard deviation of the encoder's grid) is compared with alternatives; all are fitted on the same 512 training pairs.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import click
import numpy as np
import torch
from idc_data.example import read_examples
from idc_data.images import image_files, load_image
from idc_data.readers import open_reader
from idc_models.checkpoint import read_checkpoint
from idc_models.familiar import FOREIGN, features
from idc_models.images import squeeze
from idc_models.loading import find_checkpoint
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from torch import Tensor

Pixels = NDArray[np.uint8]
Pairs = Sequence[tuple[Pixels, Pixels]]
Distance = Callable[[Tensor, Tensor], Tensor]
"""A score of images `n 3 h w` and their grids `n gh gw d`."""

DRAWN = 40


@click.command()
@click.argument("model")
@click.argument("folders", nargs=-1, metavar="[NAME=FOLDER]...")
@click.option("--pairs", default=1000, show_default=True, help="Of the test split.")
@click.option("--data", help="The dataset, where it is no longer where the checkpoint says.")
def main(model: str, folders: tuple[str, ...], pairs: int, data: str | None) -> None:
    """Print a table of AUROC by score and kind of foreign image."""
    trained = read_checkpoint(find_checkpoint(model))
    if trained.description is None:
        raise click.ClickException(f"{model} does not say what it was trained on; idc-run --describe lets it")
    network, known, size = trained.model, trained.description.familiar, trained.spec["data"]["image_size"]
    dataset = dict(trained.spec["data"]["dataset"]) | ({"root": data} if data else {})

    def own(split: str, num: int) -> Pairs:
        reader = open_reader(dataset, split, image_size=size)
        examples = read_examples(reader, range(min(num, len(reader))))
        return [(load_image(example.before), load_image(example.after)) for example in examples]

    familiar = own("test", pairs)
    foreign = {
        name: _beside_next(_read(Path(path))) for name, path in (each.split("=", 1) for each in folders)
    } | _drawn()
    strangers = next(iter(foreign.values()))
    foreign["a familiar one before one of these"] = [
        (first, second) for (first, _), (_, second) in zip(familiar, strangers, strict=False)
    ]
    foreign["familiar ones as JPEG"] = [(_jpeg(first), _jpeg(second)) for first, second in familiar[:200]]

    @torch.inference_mode()
    def seen(given: Pairs) -> tuple[Tensor, Tensor]:
        images = torch.stack([squeeze(image, size) for pair in given for image in pair])
        parts = [network.encoder.pair(part[0::2], part[1::2]) for part in images.split(128)]
        return images, torch.cat([torch.stack(part, 1).flatten(0, 1) for part in parts])

    train = seen(own("train", 512))
    scores: dict[str, Distance] = {
        "ours": lambda images, grids: known.distance(grids),
        "mean only": _mahalanobis(lambda images, grids: grids.mean((1, 2)), *train),
        "nearest of 512": _nearest(lambda images, grids: features(grids), *train),
        "cells": _cells(train[1]),
        "pixels": _mahalanobis(lambda images, grids: _statistics(images), *train),
    }

    def measure(given: Pairs) -> dict[str, Tensor]:
        images, grids = seen(given)
        return {name: score(images, grids).view(-1, 2).amax(1) for name, score in scores.items()}

    base, limit = measure(familiar), known.limits[1].exp()
    table = Table("pairs", "number", "warned of", *scores, box=None)
    table.add_row("familiar", str(len(familiar)), _share(base["ours"], limit), *["" for _ in scores])
    for name, given in foreign.items():
        found = measure(given)
        areas = [f"{_auroc(base[score], found[score]):.4f}" for score in scores]
        table.add_row(name, str(len(given)), _share(found["ours"], limit), *areas)
    Console(width=130).print(f"{model}: a pair is warned of below {FOREIGN} of familiar\n", table)


def _share(distances: Tensor, limit: Tensor) -> str:
    return f"{(distances > limit).float().mean():.1%}"


def _auroc(familiar: Tensor, foreign: Tensor) -> float:
    """Return the probability that a foreign pair is farther away than a familiar one."""
    return float((foreign[:, None] > familiar).double().mean() + (foreign[:, None] == familiar).double().mean() / 2)


def _whitening(vectors: Tensor, shrink: float = 0.1) -> Callable[[Tensor], Tensor]:
    mean, scale = vectors.mean(0), vectors.std(0) + 1e-3 * vectors.std(0).mean() + 1e-6
    scaled = (vectors - mean) / scale
    covariance = (1 - shrink) * scaled.T @ scaled / len(scaled) + shrink * torch.eye(scaled.shape[1])
    root = torch.linalg.cholesky(covariance)
    return lambda given: torch.linalg.solve_triangular(root, ((given - mean) / scale).T, upper=False).T


def _mahalanobis(describe: Distance, images: Tensor, grids: Tensor) -> Distance:
    whiten = _whitening(describe(images, grids))
    return lambda images, grids: whiten(describe(images, grids)).norm(dim=1)


def _nearest(describe: Distance, images: Tensor, grids: Tensor) -> Distance:
    whiten = _whitening(describe(images, grids))
    stored = whiten(describe(images, grids))[::2]
    return lambda images, grids: torch.cdist(whiten(describe(images, grids)), stored).amin(1)


def _cells(known: Tensor) -> Distance:
    whiten = _whitening(known.flatten(0, 2)[:: max(1, known.flatten(0, 2).shape[0] // 20_000)])
    return lambda images, grids: whiten(grids.flatten(0, 2)).square().sum(1).view(len(grids), -1).mean(1)


def _statistics(images: Tensor) -> Tensor:
    """Return histograms of brightness, saturation, colour and gradients."""
    pixels = images.float() / 255
    grey, saturation = pixels.mean(1), pixels.amax(1) - pixels.amin(1)
    gradients = [difference.abs().add(1 / 512).log2() / 9 + 1 for difference in (grey.diff(dim=1), grey.diff(dim=2))]
    colours = ((pixels * 3.999).long() * torch.tensor([16, 4, 1])[:, None, None]).sum(1) / 64
    parts = [(grey, 16), (saturation, 16), (colours, 64), *((gradient, 12) for gradient in gradients)]
    return torch.cat([_histogram(values, bins) for values, bins in parts], 1)


def _histogram(values: Tensor, bins: int) -> Tensor:
    places = (values * bins).long().clamp(0, bins - 1).flatten(1)
    counts = torch.zeros(len(values), bins).scatter_add_(1, places, torch.ones(places.shape))
    return (counts / places.shape[1]).sqrt()


def _read(folder: Path) -> list[Pixels]:
    found = image_files(folder).images
    if len(found) < 2:
        raise click.ClickException(f"{folder} holds {len(found)} images; expected two or more")
    return [load_image(folder / path) for path in found]


def _beside_next(images: Sequence[Pixels]) -> Pairs:
    return [(image, images[(place + 1) % len(images)]) for place, image in enumerate(images)]


def _drawn() -> dict[str, Pairs]:
    rng, luck = np.random.default_rng(0), Random(0)
    noise = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(DRAWN)]
    blank = [np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(DRAWN)]
    ramp = np.linspace(0, 1, 64)[:, None, None]
    gradients = [(rng.integers(0, 256, 3) * ramp + rng.integers(0, 256, 3) * (1 - ramp)) for _ in range(DRAWN)]
    gradients = [np.broadcast_to(image, (64, 64, 3)).astype(np.uint8) for image in gradients]
    text = []
    for _ in range(DRAWN):
        sheet = Image.new("RGB", (256, 256), "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(luck.randint(12, 36))
        for line in range(0, 256, 40):
            pen.text((4, line), "".join(luck.choices("abcdefgh ijklm nopqrst", k=30)), "black", font)
        text.append(np.array(sheet))
    kinds = {"noise": noise, "blank": blank, "gradients": gradients, "text": text}
    return {name: _beside_next(images) for name, images in kinds.items()}


def _jpeg(image: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return load_image(file.getvalue())


if __name__ == "__main__":
    main()
