"""The interface of tokenizers."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Tokenizer(ABC):
    """Converts captions to token ids and back.

    A tokenizer is created once, by `train`, and does not change afterwards; `state` and `restored` save it to and load
    it from a checkpoint. The keyword-only parameters of `train` are its settings in a spec; their annotations and
    defaults are the schema.

    Args:
        max_length: Maximum number of tokens of an encoded caption, including bos and eos.
        size: Number of tokens, including special ones.
        bos_id: Token at the start of a caption; may equal `eos_id`, as in GPT-2.
        eos_id: Token at the end of a caption.
        pad_id: Token that pads captions in a batch; None means `eos_id`. The end of a caption is given by its length.

    Raises:
        ValueError: `max_length` leaves no room for a token.
    """

    def __init__(self, max_length: int, size: int, *, bos_id: int, eos_id: int, pad_id: int | None = None) -> None:
        if max_length < 3:
            raise ValueError(f"max_length is {max_length}, expected at least 3: bos, one word, eos")
        self.max_length, self.size = max_length, size
        self.bos_id, self.eos_id = bos_id, eos_id
        self.pad_id = eos_id if pad_id is None else pad_id
        self._special = {bos_id, eos_id, self.pad_id}

    @classmethod
    @abstractmethod
    def train(cls, captions: Iterable[str], max_length: int) -> "Tokenizer":
        """Create a tokenizer from the captions of the training split, or from its settings.

        Raises:
            ValueError: It cannot be created.
        """

    @abstractmethod
    def tokens(self, caption: str) -> list[int]:
        """Return the ids of a caption of any length, without bos and eos."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, none of which is special."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything but `max_length` as plain JSON values."""

    @classmethod
    @abstractmethod
    def restored(cls, state: Mapping[str, Any]) -> "Tokenizer":
        """Restore the tokenizer from its state and `max_length`.

        Raises:
            ValueError: The values do not describe such a tokenizer.
        """

    def unknown(self, caption: str) -> list[str]:
        """Return the words of a caption that the tokenizer cannot represent; none by default."""
        return []

    def encode(self, caption: str) -> list[int]:
        """Return the ids of a caption, including bos and eos; a long caption is truncated but keeps eos."""
        ids = [each for each in self.tokens(caption) if each not in self._special]
        return [self.bos_id, *ids[: self.max_length - 2], self.eos_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the caption of ids up to the first eos; a bos at the start is ignored."""
        ids = list(ids)
        if ids[:1] == [self.bos_id]:
            ids = ids[1:]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return self.text([each for each in ids if each not in self._special])

    def limited(self, max_length: int) -> "Tokenizer":
        """Return a copy of the tokenizer with another maximum length."""
        other = copy.copy(self)
        other.max_length = max_length
        return other
