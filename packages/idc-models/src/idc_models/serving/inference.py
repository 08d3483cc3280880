"""Captions image pairs with a trained model, including probabilities.

It needs only a checkpoint that idc-run wrote, because the training and tracking packages are not installed where a
model is served.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from idc_data.images import load_pair
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from idc_models.checkpoint import read_checkpoint
from idc_models.contract import Fused
from idc_models.decision import agreeing
from idc_models.decoding import generate, widest_beam
from idc_models.description import usual_no_repeat
from idc_models.images import squeeze
from idc_models.serving.align import as_seen
from idc_models.serving.probability import total_probability
from idc_models.serving.settings import Decoding

MAX_ROWS = 256
"""Maximum number of hypotheses that are decoded at a time."""

Image = Path | bytes | NDArray[np.uint8] | NDArray[np.uint16]
"""A file, the contents of a file, or RGB pixels `h w 3`."""


@dataclass(frozen=True)
class Alternative:
    """Another caption of a pair, and its natural log-probability, including the end token."""

    caption: str
    log_prob: float


@dataclass(frozen=True)
class Caption:
    """A model's answer for a pair; it prints as the caption.

    Attributes:
        caption: The caption. It describes a change if `changed` is 0.5 or more, and is a no-change sentence otherwise.
        log_prob: Its natural log-probability, including the end token.
        changed: Probability that anything changed: 1 - the total probability of the no-change sentences that the model
            learned; None if its data had none.
        alternatives: Other captions, best first, without duplicates.
        change_map: Where the model sees the change, `h w` as the before image; the largest value is 255.
        note: A remark about the pair, for example that its images are too different to compare.
        familiar: How similar the images are to the training images, 0 to 1; below 0.5, `note` warns. None if the
            checkpoint has no description of those.
    """

    caption: str
    log_prob: float
    changed: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    change_map: NDArray[np.uint8] | None = None
    note: str | None = None
    familiar: float | None = None

    def __str__(self) -> str:
        return self.caption


@dataclass(frozen=True)
class Pair:
    """A pair scaled for the model, the original height and width of the before image, and a note about the pair."""

    before: UInt8[Tensor, "3 h w"]
    after: UInt8[Tensor, "3 h w"]
    shape: tuple[int, int]
    note: str | None


class PairCaptioner:
    """Captions pairs with a checkpoint; thread-safe, but computes one batch at a time.

    Args:
        checkpoint: A safetensors file that idc-run wrote.
        device: Where to run.

    Raises:
        ValueError: The file is not a checkpoint, needs a plugin that is not installed, or does not take images.
    """

    def __init__(self, checkpoint: Path, device: str = "cpu") -> None:
        self._device = torch.device(device)
        trained = read_checkpoint(checkpoint)
        self._model, self._tokenizer = trained.model.to(self._device), trained.tokenizer
        if not self._model.encoder.takes_images:
            raise ValueError(
                f"{str(checkpoint)!r} cannot caption images: its encoder {type(self._model.encoder).__name__} takes "
                "precomputed features; test it with `idc-run` on a dataset that has them"
            )
        self._image_size: int = trained.spec["data"]["image_size"]
        self._beam: int = trained.spec["eval"]["beam"]
        self._length_penalty: float = trained.spec["eval"]["length_penalty"]
        # Specs of older versions lack no_repeat_ngram.
        self._no_repeat = usual_no_repeat(trained.spec["eval"].get("no_repeat_ngram", 0), trained.description)
        self._unchanged = [self._tokenizer.encode(str(said))[1:] for said in trained.unchanged]
        self._description = trained.description
        self._familiar = trained.description.familiar.to(self._device) if trained.description else None
        self._lock = threading.Lock()

    def caption(
        self,
        pairs: Sequence[tuple[Image, Image]],
        *,
        align: bool = False,
        **settings: Any,
    ) -> list[Caption]:
        """Caption pairs in one batch.

        Args:
            pairs: Before and after images, of any size.
            align: Register after onto before first.
            **settings: The settings of `Decoding`.

        Raises:
            ValueError: A file is not an image or is too large, or a setting is out of range.
            OSError: A file cannot be opened.
        """
        decoding = Decoding(**settings)
        prepared = [self.prepare(before, after, align=align) for before, after in pairs]
        return [
            each if each.change_map is None else replace(each, change_map=enlarge(each.change_map, pair.shape))
            for each, pair in zip(self.write(prepared, decoding), prepared, strict=True)
        ]

    def prepare(self, before: Image, after: Image, *, align: bool = False) -> Pair:
        """Read two images and scale them to the model's input size.

        Args:
            before: The before image.
            after: The after image.
            align: Register after onto before first, by matching features.

        Raises:
            ValueError: A file is not an image or is too large, or alignment needs OpenCV, which is not installed.
            OSError: A file cannot be opened.
        """
        first, second = load_pair(before, after)
        height, width = first.shape[:2]
        first, second, note = as_seen(first, second, register=align)
        return Pair(squeeze(first, self._image_size), squeeze(second, self._image_size), (height, width), note)

    def write(self, pairs: Sequence[Pair], decoding: Decoding) -> list[Caption]:
        """Caption prepared pairs in as few batches as possible; change maps have one byte per cell of the grid.

        Raises:
            ValueError: A setting is out of range.
        """
        size = max(1, MAX_ROWS // self._width(decoding))
        batches = (pairs[start : start + size] for start in range(0, len(pairs), size))
        return [caption for batch in batches for caption in self._write(batch, decoding)]

    def _width(self, decoding: Decoding) -> int:
        """Return the number of hypotheses per pair, which a tiny vocabulary limits."""
        beam = 1 if decoding.sample else decoding.beam or self._beam
        return min(max(beam, decoding.num_captions), widest_beam(self._tokenizer))

    def _write(self, pairs: Sequence[Pair], decoding: Decoding) -> list[Caption]:
        before = torch.stack([pair.before for pair in pairs]).to(self._device)
        after = torch.stack([pair.after for pair in pairs]).to(self._device)
        with self._lock, torch.inference_mode():
            grids = self._model.encoder.pair(before, after)
            fused = self._model.fusion(*grids)
            familiar = self._familiar(*grids).tolist() if self._familiar else None
            tokens, log_probs = self._decode(fused, decoding)
            said = self._changed(fused)
            if said is not None:
                tokens, log_probs = agreeing(
                    self._model.decoder,
                    fused.memory,
                    tokens,
                    log_probs,
                    said,
                    self._unchanged,
                    max_length=decoding.max_length,
                    length_penalty=self._length_penalty,
                    no_repeat=self._repeats(decoding),
                )
            seen = self._model.locate(fused, tokens[:, 0]) if decoding.change_map else None
        maps = None if seen is None else (seen * 255).round().byte().cpu().numpy()
        return [
            self._caption(
                tokens[row].tolist(),
                log_probs[row].tolist(),
                None if said is None else float(said[row]),
                None if maps is None else maps[row],
                pair.note,
                None if familiar is None else familiar[row],
            )
            for row, pair in enumerate(pairs)
        ]

    def _decode(self, fused: Fused, decoding: Decoding) -> tuple[Tensor, Tensor]:
        """Return captions as token ids `b k l` and their log-probabilities `b k`, best first."""
        decoder, num = self._model.decoder, decoding.num_captions
        if decoding.sample:
            length = decoding.max_length or self._tokenizer.max_length - 1  # same default as in `generate`
            luck = torch.rand(num, length, generator=torch.Generator().manual_seed(decoding.seed))
            drawn = generate(
                decoder,
                fused.memory.repeat_interleave(num, dim=0),
                max_length=decoding.max_length,
                sample=True,
                temperature=decoding.temperature,
                draws=luck.repeat(len(fused.memory), 1).to(self._device),
                no_repeat=self._repeats(decoding),
            )
            log_probs, order = drawn.log_probs.unflatten(0, (-1, num)).sort(dim=1, descending=True, stable=True)
            tokens = drawn.tokens.unflatten(0, (-1, num))
            return tokens.gather(1, order[..., None].expand_as(tokens)), log_probs
        written = generate(
            decoder,
            fused.memory,
            beam=self._width(decoding),
            max_length=decoding.max_length,
            length_penalty=self._length_penalty,
            no_repeat=self._repeats(decoding),
        )
        if written.alternatives is None or written.alternative_log_probs is None:
            return written.tokens[:, None], written.log_probs[:, None]
        return written.alternatives[:, :num], written.alternative_log_probs[:, :num]

    def _repeats(self, decoding: Decoding) -> int:
        return self._no_repeat if decoding.no_repeat is None else decoding.no_repeat

    def _changed(self, fused: Fused) -> Tensor | None:
        if not self._unchanged:
            return None
        unchanged = total_probability(self._model.decoder, fused.memory, self._unchanged)
        return (1 - unchanged).clamp(0, 1)

    def _caption(
        self,
        tokens: list[list[int]],
        log_probs: list[float],
        changed: float | None,
        change_map: NDArray[np.uint8] | None,
        note: str | None,
        familiar: list[float] | None,
    ) -> Caption:
        # Keep the first, best of equal captions: they may differ in tokens, or be sampled twice.
        texts: dict[str, float] = {}
        for row, log_prob in zip(tokens, log_probs, strict=True):
            texts.setdefault(self._tokenizer.decode(row), log_prob)
        (best, log_prob), *others = texts.items()
        if familiar and self._description:
            note = "; ".join(filter(None, (note, self._description.warning(familiar)))) or None
        alternatives = tuple(Alternative(*other) for other in others)
        return Caption(best, log_prob, changed, alternatives, change_map, note, min(familiar) if familiar else None)


def enlarge(change_map: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a change map from the model's grid to the height and width of an image."""
    return F.interpolate(torch.from_numpy(change_map)[None, None], shape, mode="bilinear")[0, 0].numpy()
