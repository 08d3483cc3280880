"""Embeddings of images, by which similar ones are found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from pydantic import PositiveInt

from idc_data.example import load_image

EMBEDDERS = {"thumbnail": "idc_data.generate.embed:Thumbnail", "timm": "idc_data.generate.embed:Timm"}
"""Name -> class with the method `__call__(paths) -> float32 (n, d)`, rows of length 1."""


class Embedder(Protocol):
    """Anything that embeds images."""

    def __call__(self, paths: Sequence[Path]) -> Float[np.ndarray, "n d"]:
        """Embeds image files; every row has length 1."""
        ...


class Thumbnail:
    """The image itself, very small and without its mean: finds frames of one scene, needs no weights.

    Args:
        size: Width and height in pixels.
    """

    def __init__(self, *, size: PositiveInt = 12) -> None:
        self._size = size

    def __call__(self, paths: Sequence[Path]) -> Float[np.ndarray, "n d"]:
        """Embeds image files; every row has length 1."""
        small = [
            Image.fromarray(load_image(path)).resize((self._size, self._size), Image.Resampling.BOX) for path in paths
        ]
        rows = np.stack([np.asarray(image, np.float32).ravel() for image in small])
        return _unit(rows - rows.mean(1, keepdims=True))


class Timm:
    """The pooled features of a timm model: finds images of one kind of thing.

    Args:
        model: A timm model by name, as timm lists them; CLIP's and SigLIP's image towers are among them.
        pretrained: Load the weights that timm has for it, from the Hugging Face hub or its cache.
        weights: A .safetensors file to load instead.
        options: Further arguments of `timm.create_model`.
        device: `auto` takes a GPU if there is one.

    Raises:
        ValueError: timm does not know the model, or the weights do not fit.
    """

    def __init__(
        self,
        *,
        model: str = "vit_base_patch16_clip_224.openai",
        pretrained: bool = True,
        weights: Path | None = None,
        options: dict[str, Any] | None = None,
        device: str = "auto",
    ) -> None:
        import timm
        from safetensors.torch import load_file
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        try:
            net = timm.create_model(model, pretrained=pretrained and weights is None, num_classes=0, **(options or {}))
            if weights:
                net.load_state_dict(load_file(weights))
        except RuntimeError as error:
            raise ValueError(f"embedding 'timm': model {model!r}: {str(error).splitlines()[0]}") from error
        self._device = choose_device(device)
        self._net = net.eval().to(self._device)
        self._transform = create_transform(**resolve_model_data_config(net))

    def __call__(self, paths: Sequence[Path]) -> Float[np.ndarray, "n d"]:
        """Embeds image files; every row has length 1."""
        images = torch.stack([self._transform(Image.fromarray(load_image(path))) for path in paths])  # pyright: ignore
        with torch.inference_mode():
            return _unit(self._net(images.to(self._device)).float().cpu().numpy())


def choose_device(device: str) -> torch.device:
    """Gives the device of this name; `auto` is a GPU if there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype(np.float32)
