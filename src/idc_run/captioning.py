"""A trained model at work: two images in, a caption and its log-probability out."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from idc_data.example import ChangeExample, load_image
from idc_data.transforms import PairedTransform
from numpy.typing import NDArray

from idc_run.checkpoint import load_checkpoint

Image = Path | NDArray[np.uint8]


@dataclass(frozen=True)
class Caption:
    """What the model says of a pair, and its natural log-probability, the end token included."""

    caption: str
    log_prob: float


class PairCaptioner:
    """Captions pairs with a checkpoint; safe to call from several threads, one at a time inside.

    Args:
        checkpoint: A safetensors file.
        device: Where to run.

    Raises:
        ValueError: It is no checkpoint.
    """

    def __init__(self, checkpoint: Path, device: str = "cpu") -> None:
        loaded = load_checkpoint(checkpoint)
        self._device = torch.device(device)
        self._model = loaded.build(self._device).eval()
        self._tokenizer = loaded.tokenizer
        self._transform = PairedTransform(loaded.spec.data.image_size)
        self._decoding = loaded.spec.eval
        self._lock = threading.Lock()

    def caption(
        self, pairs: Sequence[tuple[Image, Image]], *, beam: int | None = None, max_length: int | None = None
    ) -> list[Caption]:
        """Caption pairs in one batch.

        Args:
            pairs: Before and after images, of any size: files or uint8 `h w 3` RGB arrays.
            beam: Hypotheses kept while decoding; by default what the model was validated with.
            max_length: Most tokens of a caption.

        Raises:
            ValueError: A file is no image or too large, or an argument is out of range.
        """
        sides = [self._prepare(before, after) for before, after in pairs]
        befores = torch.stack([before for before, _ in sides]).to(self._device)
        afters = torch.stack([after for _, after in sides]).to(self._device)
        with self._lock:
            generated = self._model.generate(
                befores,
                afters,
                beam=beam or self._decoding.beam,
                max_length=max_length,
                length_penalty=self._decoding.length_penalty,
            )
        return [
            Caption(self._tokenizer.decode(tokens), float(log_prob))
            for tokens, log_prob in zip(generated.tokens.tolist(), generated.log_probs, strict=True)
        ]

    def _prepare(self, before: Image, after: Image) -> tuple[torch.Tensor, torch.Tensor]:
        example = ChangeExample("pair", load_image(before), load_image(after), ("",), changed=True, change_type="")
        first, second, _ = self._transform(example, Random(0))
        return first, second
