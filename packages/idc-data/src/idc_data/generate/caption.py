"""Stage 3, caption: one or more sentences about what each image shows."""

import json
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from idc_data.generate.ask import Asker, Asking, Question
from idc_data.generate.loading import Dtype, Weights
from idc_data.generate.models import DATE, VisionModel
from idc_data.generate.stage import Rows
from idc_data.places import plain_name
from idc_data.text import read_text
from idc_data.wording import counted

CAPTIONERS = {"blip": "idc_data.generate.caption:Blip", "given": "idc_data.generate.caption:Given"}
"""Name -> class that is a `Captioner`."""

CAPTIONS = pa.schema([("image", pa.string()), ("captions", pa.list_(pa.string()))])
"""One row per image: its identity, and one or more captions, the best one first."""

ToAsk = list[tuple[Asker, list[Question]]]
"""Askers, each with the questions that it would be asked."""


class Captioner(Protocol):
    """What the stage `caption` needs of a class; its settings are its keyword-only parameters.

    A captioner that asks models also has `askers`, which are checked before the first stage asks anything.
    """

    def to_ask(self, images: Rows, root: Path) -> ToAsk:
        """Return the questions, for the estimate of a dry run; a captioner without a model returns an empty list."""
        ...

    def __call__(self, images: Rows, root: Path, asking: Asking) -> Rows:
        """Caption every image.

        Args:
            images: Rows of `IMAGES`; `root / row["path"]` is the file.
            root: The folder that paths are relative to.
            asking: `asking(asker, questions, what)` asks a model and remembers its answers.

        Returns:
            One row of `CAPTIONS` per image, in their order.
        """
        ...


class Given:
    """Reads captions from a JSON file, `{"path": "caption"}` or `{"path": ["caption", ...]}`.

    Args:
        file: The file; its paths are relative to the root of `collect`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not have this form.
    """

    def __init__(self, *, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise FileNotFoundError(f"caption 'given': there is no file {str(file)!r}")
        try:
            captions = json.loads(read_text(file))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"caption 'given': {file} is not JSON: {error}") from error
        if not isinstance(captions, dict):
            raise ValueError(f"caption 'given': {file} does not hold an object; expected {{'path': 'caption', ...}}")
        self._captions = {plain_name(path): said for path, said in captions.items()}

    def to_ask(self, images: Rows, root: Path) -> ToAsk:
        """Return an empty list: no model is asked."""
        return []

    def __call__(self, images: Rows, root: Path, asking: Asking) -> Rows:
        """Look the captions up.

        Raises:
            ValueError: An image has none; the message names the first such images.
        """
        rows, without = [], []
        for row in images:
            paths = (plain_name(path) for path in (row["path"], *row["copies"]))
            said = next((self._captions[path] for path in paths if path in self._captions), None)
            if not said:
                without.append(row["path"])
            rows.append({"image": row["image"], "captions": [said] if isinstance(said, str) else said})
        if without:
            raise ValueError(
                f"{self._file} has no caption of {counted(len(without), 'image')}, such as {', '.join(without[:3])}"
            )
        return rows


class Blip:
    """Captions by BLIP, BLIP-2 or any other image-text-to-text model of transformers, in batches.

    Args:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote.
        revision: A branch, tag or commit on the hub.
        prompt: What the model is asked, if it has a chat template; other models continue this text.
        batch_size: Most images at a time; where memory runs out, fewer.
        beam: Hypotheses kept by beam search; 1 is greedy.
        max_new_tokens: Most tokens of a caption.
        sampled: Number of further captions of each image, sampled.
        temperature: Of sampling: below 1 likelier words, above 1 more surprising ones.
        seed: Of sampling.
        stop: Texts that end a caption.
        date: Given to the chat template as today's.
        device: `auto` is a GPU if there is one, else the CPU.
        dtype: `auto` is bfloat16 on a GPU and float32 on a CPU.
        device_map: How accelerate spreads a large model over devices, such as `auto`.
        four_bit: Quantize the weights to 4 bits while loading, with bitsandbytes.
    """

    def __init__(
        self,
        *,
        model: str = "Salesforce/blip-image-captioning-large",
        revision: str = "main",
        prompt: str = "",
        batch_size: PositiveInt = 16,
        beam: PositiveInt = 3,
        max_new_tokens: PositiveInt = 40,
        sampled: NonNegativeInt = 0,
        temperature: PositiveFloat = 0.8,
        seed: int = 0,
        stop: tuple[str, ...] = (),
        date: str = DATE,
        device: str = "auto",
        dtype: Dtype = "auto",
        device_map: str | None = None,
        four_bit: bool = False,
    ) -> None:
        weights = Weights(model, revision, device, dtype, device_map, four_bit)
        same: dict[str, Any] = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "stop": stop, "date": date}
        self._best = VisionModel(weights, **same, beam=beam)
        self._drawn = VisionModel(weights, **same, temperature=temperature, seed=seed)
        self.askers = (self._best,)
        self._prompt, self._sampled = prompt, sampled

    def to_ask(self, images: Rows, root: Path) -> ToAsk:
        """Return the questions for the best caption of every image, then for the sampled ones."""
        chat = [{"role": "user", "content": self._prompt}]
        first, *others = (
            [
                Question({"image": row["image"], "chat": chat, "draw": draw}, (str((root / row["path"]).resolve()),))
                for row in images
            ]
            for draw in range(1 + self._sampled)
        )
        return [(self._best, first), *((self._drawn, questions) for questions in others)]

    def __call__(self, images: Rows, root: Path, asking: Asking) -> Rows:
        """Caption every image that has not been captioned before."""
        said = [asking(asker, questions, "caption") for asker, questions in self.to_ask(images, root)]
        captions = zip(*said, strict=True)
        return [
            {"image": row["image"], "captions": list(dict.fromkeys(some))}
            for row, some in zip(images, captions, strict=True)
        ]
