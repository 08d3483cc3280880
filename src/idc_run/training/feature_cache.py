"""A cache for the features of a frozen encoder: computed once per distinct image, read in every epoch."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from idc_data.contents import Contents, Image, contents
from idc_data.example import Reader
from idc_data.feature_file import FeatureFile, WithFeatures, feature_file
from idc_data.images import read_pixels
from idc_models.captioner import Captioner
from idc_models.contract import Encoder
from idc_models.images import squeeze
from jaxtyping import Float

from idc_run.console import Console
from idc_run.spec import Spec
from idc_run.tracking.store import store
from idc_run.training.data import Data

_VERSION = 1  # increase when the computed features change for the same encoder and images
_BATCH = 32


def with_features(spec: Spec, data: Data, model: Captioner, device: torch.device, console: Console) -> Data:
    """Return the splits with cached features, which the model then uses instead of the images.

    Args:
        spec: The experiment, with `data.features` set.
        data: The splits.
        model: The model with the final weights of the frozen encoder; its `kept` is set to the shape of the features.
        device: The device of the model.
        console: Shows progress.

    Raises:
        ValueError: An image cannot be read.
        OSError: The features cannot be written.
    """
    folder, weights = store() / "features", _digest(model.encoder)
    splits: dict[str, Reader] = {}
    shapes = set()
    for name in ("train", "val", "test"):
        reader: Reader = getattr(data, name)
        images = contents(reader, folder / f"{reader.fingerprint}.json")
        with console.captioning(f"features of {name}", len(images.images)) as advance:
            file = _file(spec, images, model.encoder, weights, device, folder / name, advance)
        splits[name] = WithFeatures(reader, file, images.rows)
        shapes.add(file.shape)
    assert len(shapes) == 1, "one encoder at one image size"
    model.kept = shapes.pop()
    return replace(data, **splits, kept=model.kept)


def check_features(spec: Spec, train: Reader, model: Captioner) -> None:
    """Check that the features of a dataset can be cached.

    Raises:
        ValueError: The encoder is trained or sees both images together, or the dataset is endless.
    """
    named = spec.completed()["model"]["encoder"]["name"]
    if train.endless:
        raise ValueError(
            f"data.features is {spec.data.features!r}, but this dataset never shows an image twice: write its pairs to "
            "a folder first (`idc-data scenes FOLDER`), or omit data.features"
        )
    if not model.encoder.siamese or model.encoder.features is not None:
        raise ValueError(
            f"data.features is {spec.data.features!r}, but the encoder {named!r} does not process each image "
            "separately; "
            "omit data.features"
        )
    if any(parameter.requires_grad for parameter in model.encoder.parameters()) or model.train().encoder.training:
        raise ValueError(
            f"data.features is {spec.data.features!r}, but the encoder {named!r} is trained, so that its features "
            "change: set model.encoder.frozen to true, or omit data.features"
        )


def _digest(encoder: Encoder) -> str:
    weights = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        weights.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return weights.hexdigest()


def _file(
    spec: Spec,
    images: Contents,
    encoder: Encoder,
    weights: str,
    device: torch.device,
    start: Path,
    advance: Callable[[int], None],
) -> FeatureFile:
    """Compute the features, or open them; the file name identifies encoder, weights, size and images."""
    size = spec.data.image_size
    encoders = spec.completed()["model"]["encoder"]
    told = [_VERSION, encoders, weights, size, images.digests]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def pixels(image: Image) -> torch.Tensor:
        values = read_pixels(image)
        if values.dtype == np.uint16:
            raise ValueError(
                f"data.features is {spec.data.features!r}, but image {str(image)!r} has 16 bits per channel, which "
                "are scaled per pair: convert it to 8 bits, or omit data.features"
            )
        return squeeze(values, size)

    def compute(rows: Sequence[int]) -> Float[np.ndarray, "rows gh gw d"]:
        batch = torch.stack(list(readers.map(pixels, (images.images[row] for row in rows))))
        batch = batch.to(device).contiguous(memory_format=torch.channels_last).float() / 255
        with torch.inference_mode():
            return encoder.eval()(batch).float().cpu().numpy()

    with ThreadPoolExecutor(max(1, spec.data.workers)) as readers:
        return feature_file(
            start.with_name(f"{start.name}-{key}.npy"), len(images.images), compute, advance, batch=_BATCH
        )
