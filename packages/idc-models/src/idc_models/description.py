"""Description of a model's training data, which its checkpoint holds for its users."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from idc_models.familiar import FOREIGN, Familiarity

if TYPE_CHECKING:
    from idc_models.checkpoint import Contents

NAME = "description"
"""Name of the entry in a checkpoint's metadata."""

FAMILIAR, EXAMPLES = "familiar/", "examples/"
"""Prefixes of the names of tensors."""

_SIDES = ("before", "after")


@dataclass(frozen=True)
class Description:
    """What a model was trained on.

    Attributes:
        dataset: Name of the data set.
        shows: What its images show, in a few words: "procedural scenes".
        pairs: Number of training pairs.
        image_size: Height and width in pixels to which images are scaled.
        no_repeat: The n for which references almost never repeat n words, so that captions need not either; 0 if there
            is no such n.
        familiar: Statistics of its training images.
        examples: A few pairs of its validation data, as the bytes of WebP files.
    """

    dataset: str
    shows: str
    pairs: int
    image_size: int
    no_repeat: int
    familiar: Familiarity
    examples: tuple[tuple[bytes, bytes], ...] = ()

    def sentence(self) -> str:
        """Return in words what the model was trained on."""
        named = self.dataset.casefold() in self.shows.casefold()
        what = self.shows if named else f"{self.dataset} ({self.shows})"
        return f"{self.pairs:,} pairs of {what}, seen at {self.image_size} x {self.image_size} pixels"

    def warning(self, familiar: Sequence[float]) -> str | None:
        """Return one sentence on which image of a pair is unlike the training images; None if neither is.

        Args:
            familiar: How familiar the before and the after image are, 0..1.
        """
        before, after = (value < FOREIGN for value in familiar)
        if not before and not after:
            return None
        which = "these images are" if before and after else f"the image {'before' if before else 'after'} is"
        return f"{which} unlike those that the model was trained on ({self.shows}): do not trust this caption"

    def metadata(self) -> dict[str, str]:
        """Return texts and numbers, for the metadata of a checkpoint."""
        return {NAME: json.dumps({name: getattr(self, name) for name in _KINDS})}

    def tensors(self) -> dict[str, Tensor]:
        """Return everything else, for the tensors of a checkpoint."""
        named = {f"{FAMILIAR}{name}": value for name, value in self.familiar.tensors().items()}
        for row, pair in enumerate(self.examples):
            for side, content in zip(_SIDES, pair, strict=True):
                named[f"{EXAMPLES}{row}/{side}"] = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        return named


_KINDS: Mapping[str, type] = {"dataset": str, "shows": str, "pairs": int, "image_size": int, "no_repeat": int}


def read_description(contents: "Contents") -> Description | None:
    """Read the description in a checkpoint; None if the file is of a version that had none.

    Raises:
        ValueError: The description is damaged.
    """
    plain: dict[str, Any] = contents.plain(NAME, dict, "{}")
    if not plain:
        return None
    if plain.keys() != _KINDS.keys() or any(type(plain[name]) is not kind for name, kind in _KINDS.items()):
        raise ValueError(f"{contents.path} is damaged: its {NAME} is {str(plain)[:200]}, expected {', '.join(_KINDS)}")
    examples = contents.under(EXAMPLES)
    pairs = {name.partition("/")[0] for name in examples}
    try:
        return Description(
            **plain,
            familiar=Familiarity.of_tensors(contents.under(FAMILIAR)),
            examples=tuple(
                (_bytes(examples[f"{row}/before"]), _bytes(examples[f"{row}/after"])) for row in sorted(pairs, key=int)
            ),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{contents.path} is damaged: {error}") from error


def usual_no_repeat(tested: int, description: Description | None) -> int:
    """Return the default of `no_repeat`: the value used in the model's test, or else the one of its references.

    Args:
        tested: The value that the model was tested with; 0 if repeats were allowed.
        description: The model's description.
    """
    return tested or (description.no_repeat if description else 0)


def _bytes(content: Tensor) -> bytes:
    if content.dtype != torch.uint8:
        raise ValueError(f"an example image is stored as {content.dtype}, expected uint8: the bytes of a file")
    return content.numpy().tobytes()
