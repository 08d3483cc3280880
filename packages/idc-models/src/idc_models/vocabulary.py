"""The vocabulary of a trained model, read from its tokenizer's JSON without the library that wrote it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from idc_data.words import FIRST, join, pattern_of, split

_SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class Vocabulary:
    """Whole words by number; a TokenSpace.

    Attributes:
        words: every token, the special ones first.
        max_length: most tokens of a caption, bos and eos included.
        pattern: what the tokenizer splits captions by, see `idc_data.words`.
    """

    words: tuple[str, ...]
    max_length: int
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pattern: str = FIRST

    @property
    def size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self.words)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """Reads a word-level tokenizer of the `tokenizers` library.

        Raises:
            ValueError: it is none, or its special tokens are not those of this project.
        """
        try:
            plain = json.loads(text)
            numbers, max_length = plain["model"]["vocab"], plain["truncation"]["max_length"]
            words = tuple(sorted(numbers, key=numbers.__getitem__))
            counted = sorted(numbers.values()) == list(range(len(words)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not the JSON of a word-level tokenizer ({type(error).__name__}: {error})") from error
        if not isinstance(max_length, int):
            raise ValueError(f"the tokenizer's max_length is {max_length!r}, expected a number of tokens")
        if words[: len(_SPECIALS)] != _SPECIALS or not counted:
            raise ValueError(f"the tokenizer's first words are {words[:4]}, expected {', '.join(_SPECIALS)}")
        return cls(words, max_length, pattern=pattern_of(plain))

    def decode(self, ids: Sequence[int]) -> str:
        """Spells the caption of token ids, up to the first end; special tokens are left out."""
        ids = list(ids)
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return join((self.words[number] for number in ids if number >= len(_SPECIALS)), self.pattern)

    def encode(self, caption: str) -> list[int]:
        """Gives the ids of a caption that `decode` spelt, with its end.

        Raises:
            ValueError: a word is unknown.
        """
        numbers = {word: number for number, word in enumerate(self.words)}
        words = split(caption, self.pattern)
        if unknown := [word for word in words if word not in numbers]:
            raise ValueError(f"the vocabulary lacks {unknown} of {caption!r}")
        return [*(numbers[word] for word in words), self.eos_id]
