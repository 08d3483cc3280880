"""Whole words, lower case, punctuation apart, as `idc_data.words` says; no library is needed."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from idc_data.tokenizers.base import Tokenizer
from idc_data.words import CURRENT, join, pattern_of, split

_SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")  # their ids are 0 to 3; no text ever becomes one of them


class Words(Tokenizer):
    """A vocabulary of whole words; the special tokens come first.

    Args:
        vocabulary: Every token by its id.
        max_length: Most tokens of an encoded caption, beginning and end included.
        pattern: What captions are split by, see `idc_data.words`.

    Attributes:
        unk_id: Stands for a word that training did not see.
    """

    unk_id = 3

    def __init__(self, vocabulary: Sequence[str], max_length: int, pattern: str = CURRENT) -> None:
        if tuple(vocabulary[: len(_SPECIALS)]) != _SPECIALS:
            raise ValueError(f"the tokenizer's first words are {vocabulary[:4]}, expected {', '.join(_SPECIALS)}")
        super().__init__(max_length, len(vocabulary), bos_id=1, eos_id=2, pad_id=0)
        self._words, self._pattern = tuple(vocabulary), pattern
        self._ids = {word: number for number, word in enumerate(vocabulary)}

    @classmethod
    def train(
        cls, captions: Iterable[str], max_length: int, *, min_frequency: Annotated[int, Field(ge=1)] = 1
    ) -> "Words":
        """Collect the vocabulary of captions, the most frequent word first.

        Args:
            captions: Of the training split only.
            max_length: Most tokens of an encoded caption, beginning and end included.
            min_frequency: Rarer words become unknown.

        Raises:
            ValueError: There are no captions, or `max_length` leaves no room for a word.
        """
        counts = Counter(word for caption in captions for word in split(normal(caption), CURRENT))
        words = sorted(
            (word for word, count in counts.items() if count >= min_frequency), key=lambda w: (-counts[w], w)
        )
        if not words:
            raise ValueError(f"no word comes {min_frequency} times in the captions, expected captions to learn from")
        return cls((*_SPECIALS, *words), max_length)

    def tokens(self, caption: str) -> list[int]:
        """Give the ids of the words, `unk_id` for those that are not in the vocabulary."""
        return [self._ids.get(word, self.unk_id) for word in split(normal(caption), self._pattern)]

    def text(self, ids: Sequence[int]) -> str:
        """Put the words together; unknown ones are left out."""
        return join((self._words[number] for number in ids if self.unk_id < number < self.size), self._pattern)

    def unknown(self, caption: str) -> list[str]:
        """Give the words of a caption that are not in the vocabulary, in lower case."""
        return [word for word in split(normal(caption), self._pattern) if word not in self._ids]

    def state(self) -> dict[str, Any]:
        """Give the words and what captions are split by."""
        return {"pattern": self._pattern, "words": list(self._words)}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Words":
        """Make it from its state."""
        words = [str(word) for word in state["words"]]
        if len(set(words)) < len(words):
            raise ValueError("the tokenizer has a word twice, expected each once")
        return cls(words, state["max_length"], str(state["pattern"]))


def of_library(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Give the state that the JSON of a word-level tokenizer of the `tokenizers` library says, as older files hold it.

    Raises:
        ValueError: The ids of the words have gaps.
    """
    numbers: dict[str, int] = plain["model"]["vocab"]
    words = sorted(numbers, key=numbers.__getitem__)
    if sorted(numbers.values()) != list(range(len(words))):
        raise ValueError(f"the ids of the tokenizer's {len(words)} words are not 0 to {len(words) - 1}")
    return {"max_length": plain["truncation"]["max_length"], "pattern": pattern_of(plain), "words": words}


def normal(caption: str) -> str:
    """Bring a caption to compatible composed characters in lower case, letter by letter: a final sigma is none."""
    if caption.isascii():
        return caption.lower()
    return "".join(char.lower() for char in unicodedata.normalize("NFKC", caption))
