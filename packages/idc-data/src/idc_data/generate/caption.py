"""Stage 3, caption: what each image shows."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image
from pydantic import PositiveInt

from idc_data.example import load_image
from idc_data.generate.answers import Answers
from idc_data.generate.embed import choose_device
from idc_data.generate.pair import Progress
from idc_data.generate.stage import Rows

CAPTIONERS = {"blip": "idc_data.generate.caption:Blip", "given": "idc_data.generate.caption:Given"}
"""Name -> class with the method `__call__(images, root, answers, progress) -> rows of CAPTIONS`."""

CAPTIONS = pa.schema([("image", pa.string()), ("captions", pa.list_(pa.string()))])
"""One row per image: its identity, and one or more captions, the one to use first."""


class Given:
    """Captions that the user has: a JSON file, `{"path": "caption"}` or `{"path": ["caption", ...]}`.

    Args:
        file: The file; its paths are those of `collect`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not of this form.
    """

    def __init__(self, *, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise FileNotFoundError(f"caption 'given': there is no file {str(file)!r}")
        try:
            self._captions = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"caption 'given': {file} is no JSON: {error}") from error
        if not isinstance(self._captions, dict):
            raise ValueError(f"caption 'given': {file} holds no object; expected {{'path': 'caption', ...}}")

    def __call__(self, images: Rows, root: Path, answers: Answers, progress: Progress) -> Rows:
        """Looks the captions up.

        Raises:
            ValueError: An image has none; the first such images are named.
        """
        rows, without = [], []
        for row in images:
            said = next(
                (self._captions[path] for path in (row["path"], *row["copies"]) if path in self._captions), None
            )
            if not said:
                without.append(row["path"])
            rows.append({"image": row["image"], "captions": [said] if isinstance(said, str) else said})
        if without:
            raise ValueError(f"{self._file} has no caption of {len(without)} images, such as {', '.join(without[:3])}")
        return rows


class Blip:
    """Captions by BLIP, or any other image-text-to-text model of transformers, in batches.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote.
        revision: Which version on the hub.
        batch_size: Images at a time.
        beam: Hypotheses kept; 1 is greedy.
        max_new_tokens: Most tokens of a caption.
        device: `auto` takes a GPU if there is one, in half precision.

    Raises:
        OSError: The model cannot be had.
    """

    def __init__(
        self,
        *,
        model: str = "Salesforce/blip-image-captioning-large",
        revision: str = "main",
        batch_size: PositiveInt = 16,
        beam: PositiveInt = 3,
        max_new_tokens: PositiveInt = 40,
        device: str = "auto",
    ) -> None:
        self._identity = {"model": model, "revision": revision, "beam": beam, "max_new_tokens": max_new_tokens}
        self._batch_size, self._device = batch_size, device

    def __call__(self, images: Rows, root: Path, answers: Answers, progress: Progress) -> Rows:
        """Captions every image that has not been captioned before."""
        said = answers.ask(
            [row["image"] for row in images],
            self._identity,
            lambda some: self._caption([root / images[index]["path"] for index in some]),
            batch_size=self._batch_size,
        )
        captioned = zip(images, said, strict=True)
        return [
            {"image": row["image"], "captions": [caption]}
            for row, caption in progress(captioned, "caption", len(images))
        ]

    def _caption(self, paths: Sequence[Path]) -> list[str]:
        import torch

        model, processor = self._loaded
        pictures = [Image.fromarray(load_image(path)) for path in paths]
        inputs = processor(images=pictures, return_tensors="pt").to(model.device, model.dtype)
        options = {"num_beams": self._identity["beam"], "max_new_tokens": self._identity["max_new_tokens"]}
        with torch.inference_mode():
            tokens = model.generate(**inputs, **options, do_sample=False)
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        name, revision = self._identity["model"], self._identity["revision"]
        device = choose_device(self._device)
        dtype = torch.float32 if device.type == "cpu" else torch.float16
        model: Any = AutoModelForImageTextToText.from_pretrained(name, revision=revision, dtype=dtype)
        return model.eval().to(device), AutoProcessor.from_pretrained(name, revision=revision)
