"""Stage 3, caption: what each image shows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from idc_data.generate.ask import Asker, Asking, Question
from idc_data.generate.models import VisionModel
from idc_data.generate.stage import Rows
from idc_data.places import plain_name
from idc_data.text import read_text
from idc_data.wording import counted

CAPTIONERS = {"blip": "idc_data.generate.caption:Blip", "given": "idc_data.generate.caption:Given"}
"""Name -> class with the methods `__call__(images, root, asking) -> rows of CAPTIONS`, and `to_ask(images, root) ->
[(asker, questions)]`, for the estimate."""

CAPTIONS = pa.schema([("image", pa.string()), ("captions", pa.list_(pa.string()))])
"""One row per image: its identity, and one or more captions, the one to use first."""

ToAsk = list[tuple[Asker, list[Question]]]


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
            captions = json.loads(read_text(file))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"caption 'given': {file} is no JSON: {error}") from error
        if not isinstance(captions, dict):
            raise ValueError(f"caption 'given': {file} holds no object; expected {{'path': 'caption', ...}}")
        self._captions = {plain_name(path): said for path, said in captions.items()}

    def to_ask(self, images: Rows, root: Path) -> ToAsk:
        """Nobody."""
        return []

    def __call__(self, images: Rows, root: Path, asking: Asking) -> Rows:
        """Looks the captions up.

        Raises:
            ValueError: An image has none; the first such images are named.
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
        revision: Which version on the hub.
        prompt: What the model is asked, where it has a chat template; others go on writing after it.
        batch_size: Images at a time.
        beam: Hypotheses kept; 1 is greedy.
        max_new_tokens: Most tokens of a caption.
        sampled: So many more captions of each image, drawn at random.
        temperature: Of the draws: below 1 likelier words, above 1 more surprising ones.
        seed: Of the draws.
        device: `auto` takes a GPU if there is one, in half precision.
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
        device: str = "auto",
    ) -> None:
        same: dict[str, Any] = {
            "model": model,
            "revision": revision,
            "batch_size": batch_size,
            "max_new_tokens": max_new_tokens,
            "device": device,
        }
        self._best = VisionModel(**same, beam=beam)
        self._drawn = VisionModel(**same, temperature=temperature, seed=seed)
        self._prompt, self._sampled = prompt, sampled

    def to_ask(self, images: Rows, root: Path) -> ToAsk:
        """The best caption of every image, then the draws."""
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
        """Captions every image that has not been captioned before."""
        said = [asking(asker, questions, "caption") for asker, questions in self.to_ask(images, root)]
        captions = zip(*said, strict=True)
        return [
            {"image": row["image"], "captions": list(dict.fromkeys(some))}
            for row, some in zip(images, captions, strict=True)
        ]
