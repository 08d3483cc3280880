"""Tokens are whole words in lower case and punctuation marks, see `idc_data.words`; no library is needed."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from idc_data.tokenizers.base import Tokenizer
from idc_data.words import CURRENT, join, pattern_of, split

_SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")  # ids 0 to 3; no text is ever encoded as one of them


class Words(Tokenizer):
    """A vocabulary of whole words; the special tokens come first, except in vocabularies of imported models.

    Args:
        vocabulary: All tokens, in the order of their ids.
        max_length: Maximum number of tokens of an encoded caption, including bos and eos.
        pattern: Pattern for splitting captions, see `idc_data.words`.
        special: The ids of `pad`, `bos`, `eos` and, if it exists, `unk`, if they are not 0 to 3. Words in angle
            brackets are then special too.

    Attributes:
        unk_id: Token of words that are not in the vocabulary; None if there is none.

    Raises:
        ValueError: The special tokens are missing.
    """

    unk_id: int | None = 3

    def __init__(
        self,
        vocabulary: Sequence[str],
        max_length: int,
        pattern: str = CURRENT,
        special: Mapping[str, int] | None = None,
    ) -> None:
        if special is None and tuple(vocabulary[: len(_SPECIALS)]) != _SPECIALS:
            raise ValueError(f"the tokenizer's first words are {vocabulary[:4]}, expected {', '.join(_SPECIALS)}")
        ids = {"pad": 0, "bos": 1, "eos": 2, "unk": 3} if special is None else dict(special)
        if other := [name for name, number in ids.items() if not 0 <= number < len(vocabulary)]:
            raise ValueError(f"the id of {other[0]!r} is {ids[other[0]]!r}, but there are {len(vocabulary)} words")
        super().__init__(max_length, len(vocabulary), bos_id=ids["bos"], eos_id=ids["eos"], pad_id=ids["pad"])
        self._words, self._pattern = tuple(vocabulary), pattern
        self._given, self.unk_id = special, ids.get("unk")
        if special is None:
            self._silent = frozenset(range(len(_SPECIALS)))
            self._ids = {word: number for number, word in enumerate(vocabulary)}
        else:
            bracketed = {number for number, word in enumerate(vocabulary) if word[:1] == "<" and word[-1:] == ">"}
            self._silent = frozenset(bracketed | set(ids.values()))
            spoken = [(normal(word), number) for number, word in enumerate(vocabulary) if number not in self._silent]
            self._ids = dict(reversed(spoken))

    @classmethod
    def train(
        cls, captions: Iterable[str], max_length: int, *, min_frequency: Annotated[int, Field(ge=1)] = 1
    ) -> "Words":
        """Collect the vocabulary of captions, most frequent words first.

        Args:
            captions: The captions of the training split only.
            max_length: Maximum number of tokens of an encoded caption, including bos and eos.
            min_frequency: Rarer words become the unknown token.

        Raises:
            ValueError: There are no captions, or `max_length` leaves no room for a word.
        """
        counts = Counter(word for caption in captions for word in split(normal(caption), CURRENT))
        words = sorted(
            (word for word, count in counts.items() if count >= min_frequency), key=lambda w: (-counts[w], w)
        )
        if not words:
            raise ValueError(
                f"no word occurs min_frequency={min_frequency} times in the captions; lower it, or add captions"
            )
        return cls((*_SPECIALS, *words), max_length)

    def tokens(self, caption: str) -> list[int]:
        """Return the ids of the words, with `unk_id` for those that are not in the vocabulary."""
        ids = (self._ids.get(word, self.unk_id) for word in split(normal(caption), self._pattern))
        return [number for number in ids if number is not None]

    def text(self, ids: Sequence[int]) -> str:
        """Join the words, without unknown ones."""
        return join((self._words[number] for number in ids if self._spoken(number)), self._pattern)

    def unknown(self, caption: str) -> list[str]:
        """Return the words of a caption that are not in the vocabulary, in lower case."""
        return [word for word in split(normal(caption), self._pattern) if word not in self._ids]

    def state(self) -> dict[str, Any]:
        """Return the words, the pattern for splitting, and the special tokens if they are not 0 to 3."""
        special = {} if self._given is None else {"special": dict(self._given)}
        return {"pattern": self._pattern, "words": list(self._words), **special}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Words":
        """Restore the tokenizer from its state."""
        words = [str(word) for word in state["words"]]
        if len(set(words)) < len(words):
            raise ValueError("the tokenizer has a duplicate word, expected each word once")
        special = {str(name): int(number) for name, number in state["special"].items()} if "special" in state else None
        return cls(words, state["max_length"], str(state["pattern"]), special)

    def _spoken(self, number: int) -> bool:
        return 0 <= number < self.size and number not in self._silent


def of_library(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the JSON of a word-level tokenizer of the `tokenizers` library, as in older files, to a state.

    Raises:
        ValueError: The ids of the words have gaps.
    """
    numbers: dict[str, int] = plain["model"]["vocab"]
    words = sorted(numbers, key=numbers.__getitem__)
    if sorted(numbers.values()) != list(range(len(words))):
        raise ValueError(f"the ids of the tokenizer's {len(words)} words are not 0 to {len(words) - 1}")
    return {"max_length": plain["truncation"]["max_length"], "pattern": pattern_of(plain), "words": words}


def normal(caption: str) -> str:
    """Normalise a caption: NFKC and lower case, letter by letter, without the special form of a final sigma."""
    if caption.isascii():
        return caption.lower()
    return "".join(char.lower() for char in unicodedata.normalize("NFKC", caption))
