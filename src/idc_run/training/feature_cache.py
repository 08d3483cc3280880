"""Features of a frozen encoder, computed once for each distinct image of the dataset and read in every epoch."""

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

_VERSION = 1  # counted up whenever the same encoder and images give other features
_BATCH = 32


def with_features(spec: Spec, data: Data, model: Captioner, device: torch.device, console: Console) -> Data:
    """Give the splits with the features of their images, in place of which the model then takes these.

    Args:
        spec: The experiment; `data.features` asks for it.
        data: Its splits.
        model: With the weights that the encoder keeps. It is told the shape of the features.
        device: Where the model is.
        console: Shows how far it is.

    Raises:
        ValueError: An image cannot be had.
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
    """Check that the features of a dataset can be computed once.

    Raises:
        ValueError: The encoder is trained or sees both images together, or the dataset has no end.
    """
    named = spec.completed()["model"]["encoder"]["name"]
    if train.endless:
        raise ValueError(
            f"data.features is {spec.data.features!r}, but this dataset never shows an image twice: write its pairs to "
            "a folder first (`idc-data scenes FOLDER`), or leave data.features out"
        )
    if not model.encoder.siamese or model.encoder.features is not None:
        raise ValueError(
            f"data.features is {spec.data.features!r}, but the encoder {named!r} does not see each image by itself; "
            "leave data.features out"
        )
    if any(parameter.requires_grad for parameter in model.encoder.parameters()) or model.train().encoder.training:
        raise ValueError(
            f"data.features is {spec.data.features!r}, but the encoder {named!r} is trained, so that its features "
            "change: set model.encoder.frozen to true, or leave data.features out"
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
    """Compute the features, or open them; the name of the file tells encoder, weights, size and images."""
    size = spec.data.image_size
    encoders = spec.completed()["model"]["encoder"]
    told = [_VERSION, encoders, weights, size, images.digests]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def pixels(image: Image) -> torch.Tensor:
        values = read_pixels(image)
        if values.dtype == np.uint16:
            raise ValueError(
                f"data.features is {spec.data.features!r}, but image {str(image)!r} has 16 bits a colour, which are "
                "scaled for each pair: convert it to 8 bits, or leave data.features out"
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
