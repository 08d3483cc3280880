"""What a model was trained on, as its checkpoint tells those who use it."""

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
"""Of the entry in a checkpoint's metadata."""

FAMILIAR, EXAMPLES = "familiar/", "examples/"
"""What the names of tensors begin with."""

_SIDES = ("before", "after")


@dataclass(frozen=True)
class Description:
    """What a model was trained on.

    Attributes:
        dataset: its name.
        shows: what its images show, in a few words that may stand in brackets: "procedural scenes".
        pairs: how many pairs it was trained on.
        image_size: height and width in pixels at which it sees images.
        no_repeat: the n for which its references hardly ever say n words twice: captions of the model need not either.
            0 if they do for every n.
        familiar: what its training images are like.
        examples: a few pairs of its validation data, as the bytes of WebP files.
    """

    dataset: str
    shows: str
    pairs: int
    image_size: int
    no_repeat: int
    familiar: Familiarity
    examples: tuple[tuple[bytes, bytes], ...] = ()

    def sentence(self) -> str:
        """Say in words what it was trained on."""
        named = self.dataset.casefold() in self.shows.casefold()
        what = self.shows if named else f"{self.dataset} ({self.shows})"
        return f"{self.pairs:,} pairs of {what}, seen at {self.image_size} x {self.image_size} pixels"

    def warning(self, familiar: Sequence[float]) -> str | None:
        """Say in one sentence which image of a pair is unlike the training images; None if neither is.

        Args:
            familiar: how familiar the earlier and the later image are.
        """
        before, after = (value < FOREIGN for value in familiar)
        if not before and not after:
            return None
        which = "these images are" if before and after else f"the image {'before' if before else 'after'} is"
        return f"{which} unlike those that the model was trained on ({self.shows}): do not trust this caption"

    def metadata(self) -> dict[str, str]:
        """Give what is text or a number, for the metadata of a checkpoint."""
        return {NAME: json.dumps({name: getattr(self, name) for name in _KINDS})}

    def tensors(self) -> dict[str, Tensor]:
        """Give what is not, for the tensors of a checkpoint."""
        named = {f"{FAMILIAR}{name}": value for name, value in self.familiar.tensors().items()}
        for row, pair in enumerate(self.examples):
            for side, content in zip(_SIDES, pair, strict=True):
                named[f"{EXAMPLES}{row}/{side}"] = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        return named


_KINDS: Mapping[str, type] = {"dataset": str, "shows": str, "pairs": int, "image_size": int, "no_repeat": int}


def read_description(contents: "Contents") -> Description | None:
    """Read what a checkpoint tells of its training data; None of a file that was written before it was told.

    Raises:
        ValueError: what it tells is damaged.
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
    """Give `no_repeat` of an answer that does not ask for one: as the model was tested, else as its references are.

    Args:
        tested: what the model was tested with, 0 if repeats were allowed.
        description: of the model.
    """
    return tested or (description.no_repeat if description else 0)


def _bytes(content: Tensor) -> bytes:
    if content.dtype != torch.uint8:
        raise ValueError(f"an example is {content.dtype}, expected the bytes of a file")
    return content.numpy().tobytes()
