"""Embeddings of images, by which similar images are found.

An embedder is asked like any other model, so that its answers, vectors in half precision, are stored and no image is
embedded twice.
"""

import base64
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from pydantic import PositiveInt

from idc_data.generate.ask import Asker, Asking, Question, Said
from idc_data.generate.loading import Halving, Weights, choose_device, content_hash
from idc_data.generate.stage import Rows

EMBEDDERS = {
    "thumbnail": "idc_data.generate.embed:Thumbnail",
    "timm": "idc_data.generate.embed:Timm",
    "clip": "idc_data.generate.embed:Clip",
}
"""Name -> asker of `{"image": identity}` that answers with a vector; see `_Embedder`."""


def embed(embedder: Asker, images: Rows, root: Path, asking: Asking) -> Float[np.ndarray, "n d"]:
    """Embed images.

    Returns:
        One row per image, of length 1.
    """
    questions = [Question({"image": row["image"]}, (str(root / row["path"]),)) for row in images]
    said = asking(embedder, questions, "embed")
    rows = np.stack([np.frombuffer(base64.b64decode(text), np.float16) for text in said]).astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


class _Embedder:
    """Answers with the embedding of an image, in base64.

    A subclass defines `identity` and `embed`.
    """

    in_process = False
    prices = (0.0, 0.0)
    batch_size = 64

    def __init__(self) -> None:
        self._halving = Halving()

    @property
    def identity(self) -> Any:
        """All that an embedding depends on, but for the image."""
        raise NotImplementedError

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Yield all embeddings at once."""
        rows = np.stack(self._halving(lambda some: list(self.embed([each.images()[0] for each in some])), questions))
        rows /= np.maximum(np.abs(rows).max(1, keepdims=True), 1e-6)  # half precision keeps directions, not lengths
        coded = [base64.b64encode(row.astype(np.float16).tobytes()).decode() for row in rows]
        yield [(index, Said(text)) for index, text in enumerate(coded)]

    def embed(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "n d"]:
        """Embed images."""
        raise NotImplementedError


class Thumbnail(_Embedder):
    """The image itself, very small and without its mean: finds frames of one scene and needs no weights.

    Args:
        size: Width and height in pixels.
    """

    def __init__(self, *, size: PositiveInt = 12) -> None:
        super().__init__()
        self._size = size

    @property
    def identity(self) -> Any:
        """The size."""
        return {"embedding": "thumbnail", "size": self._size}

    def embed(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "n d"]:
        """Embed images."""
        small = [image.resize((self._size, self._size), Image.Resampling.BOX) for image in images]
        rows = np.stack([np.asarray(image, np.float32).ravel() for image in small])
        return rows - rows.mean(1, keepdims=True)


class Timm(_Embedder):
    """The pooled features of a timm model: finds images of one kind of thing.

    Args:
        model: A timm model by name, as timm lists them; CLIP's and SigLIP's image towers are among them.
        pretrained: Load its published weights, from the Hugging Face hub or its cache.
        weights: A .safetensors file to load instead.
        options: Further arguments of `timm.create_model`.
        batch_size: Most images at a time.
        device: `auto` is a GPU if there is one, else the CPU.

    Raises:
        FileNotFoundError: There is no file of weights.
    """

    def __init__(
        self,
        *,
        model: str = "vit_base_patch16_clip_224.openai",
        pretrained: bool = True,
        weights: Path | None = None,
        options: dict[str, Any] | None = None,
        batch_size: PositiveInt = 64,
        device: str = "auto",
    ) -> None:
        super().__init__()
        if weights and not weights.is_file():
            raise FileNotFoundError(f"embedding 'timm': there is no file {str(weights)!r}")
        self._model, self._pretrained, self._weights, self._options = model, pretrained, weights, options
        self.batch_size, self._device = batch_size, device

    @property
    def identity(self) -> Any:
        """The model, the contents of its weights, and its options."""
        state = content_hash(self._weights) if self._weights else None
        return {"timm": self._model, "pretrained": self._pretrained, "weights": state, "options": self._options}

    def embed(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "n d"]:
        """Embed images.

        Raises:
            ValueError: timm does not know the model, or the weights do not fit.
        """
        net, transform = self._loaded
        pixels = torch.stack([transform(image) for image in images]).to(choose_device(self._device))
        with torch.inference_mode():
            return net(pixels).float().cpu().numpy()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import timm
        from safetensors.torch import load_file
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        pretrained = self._pretrained and self._weights is None
        try:
            net = timm.create_model(self._model, pretrained=pretrained, num_classes=0, **(self._options or {}))
            if self._weights:
                net.load_state_dict(load_file(self._weights))
        except RuntimeError as error:
            raise ValueError(f"embedding 'timm': model {self._model!r}: {str(error).splitlines()[0]}") from error
        return net.eval().to(choose_device(self._device)), create_transform(**resolve_model_data_config(net))


class Clip(_Embedder):
    """The image embeddings of CLIP, SigLIP or another dual encoder of transformers.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote.
        revision: A branch, tag or commit on the hub.
        batch_size: Most images at a time.
        device: `auto` is a GPU if there is one, else the CPU.
    """

    def __init__(
        self,
        *,
        model: str = "openai/clip-vit-base-patch32",
        revision: str = "main",
        batch_size: PositiveInt = 64,
        device: str = "auto",
    ) -> None:
        super().__init__()
        self._weights = Weights(model, revision, device, "float32")
        self.batch_size = batch_size

    @property
    def identity(self) -> Any:
        """The model."""
        return {"clip": self._weights.identity}

    def check(self) -> None:
        """Check that the model can be loaded, without loading it.

        Raises:
            ValueError: It cannot.
        """
        self._weights.check()

    def embed(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "n d"]:
        """Embed images.

        Raises:
            OSError: The model cannot be found.
        """
        return self._features("image", images=list(images))

    def _features(self, kind: str, **inputs: Any) -> Float[np.ndarray, "n d"]:
        model, processor = self._weights.load("AutoModel", "AutoProcessor")
        # SigLIP was trained on text padded to the full length, and CLIP does not mind.
        words = {"padding": "max_length", "truncation": True} if kind == "text" else {}
        tensors = processor(**inputs, **words, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            features = getattr(model, f"get_{kind}_features")(**tensors)
        return getattr(features, "pooler_output", features).float().cpu().numpy()


class Agreement(Clip):
    """How well a text fits an image: the cosine similarity of their embeddings, to 4 digits.

    Its questions are `{"image": identity, "text": text}`.
    """

    def ask(self, questions: Sequence[Question]) -> Iterator[list[tuple[int, Said]]]:
        """Yield all similarities at once."""
        yield [(index, Said(f"{cosine:.4f}")) for index, cosine in enumerate(self._halving(self._cosines, questions))]

    def _cosines(self, questions: Sequence[Question]) -> list[float]:
        images = self._features("image", images=[question.images()[0] for question in questions])
        texts = self._features("text", text=[question.content["text"] for question in questions])
        lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
        return ((images * texts).sum(1) / np.maximum(lengths, 1e-6)).tolist()
