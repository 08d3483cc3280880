"""What a tokenizer promises."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Tokenizer(ABC):
    """Captions to token ids and back.

    A tokenizer is made once, by `train`, and from then on stays as it is: `state` and `restored` take it through a
    checkpoint. The keyword-only parameters of `train` are its settings in a spec; their annotations and defaults are
    the schema.

    Args:
        max_length: Most tokens of an encoded caption, beginning and end included.
        size: Number of tokens, special ones included.
        bos_id: Begins a caption; may be `eos_id`, as in GPT-2.
        eos_id: Ends a caption.
        pad_id: Fills short captions of a batch; None: `eos_id` does. Where a caption ends, its length says.

    Raises:
        ValueError: `max_length` leaves no room for a token.
    """

    def __init__(self, max_length: int, size: int, *, bos_id: int, eos_id: int, pad_id: int | None = None) -> None:
        if max_length < 3:
            raise ValueError(f"max_length is {max_length}, expected at least 3: begin, one word, end")
        self.max_length, self.size = max_length, size
        self.bos_id, self.eos_id = bos_id, eos_id
        self.pad_id = eos_id if pad_id is None else pad_id
        self._special = {bos_id, eos_id, self.pad_id}

    @classmethod
    @abstractmethod
    def train(cls, captions: Iterable[str], max_length: int) -> "Tokenizer":
        """Make a tokenizer from the captions of the training split, or from what the settings name.

        Raises:
            ValueError: It cannot be made.
        """

    @abstractmethod
    def tokens(self, caption: str) -> list[int]:
        """Give the ids of a caption of any length, without those that begin and end it."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """Spell ids, none of them special, as plain text."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give everything but `max_length` as plain values of JSON."""

    @classmethod
    @abstractmethod
    def restored(cls, state: Mapping[str, Any]) -> "Tokenizer":
        """Make the tokenizer that `state` describes; `max_length` is among the values.

        Raises:
            ValueError: The values are not those of such a tokenizer.
        """

    def unknown(self, caption: str) -> list[str]:
        """Give the words of a caption that the tokenizer cannot say; by default there are none."""
        return []

    def encode(self, caption: str) -> list[int]:
        """Give the ids of a caption, begin and end included; a long one is cut, but keeps its end."""
        ids = [each for each in self.tokens(caption) if each not in self._special]
        return [self.bos_id, *ids[: self.max_length - 2], self.eos_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Give the caption that ids spell, from the begin, if there is one, to the first end."""
        ids = list(ids)
        if ids[:1] == [self.bos_id]:
            ids = ids[1:]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return self.text([each for each in ids if each not in self._special])

    def limited(self, max_length: int) -> "Tokenizer":
        """Give the same tokenizer with another limit on the length of an encoded caption."""
        other = copy.copy(self)
        other.max_length = max_length
        return other
