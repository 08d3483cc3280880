"""Captions to token ids and back: whole words, lower case, punctuation apart, as `idc_data.words` says."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors

from idc_data.words import CURRENT, join, pattern_of

_SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")  # their ids are 0 to 3; no text ever becomes one of them


class Tokenizer:
    """A word-level vocabulary on the `tokenizers` library, whose JSON holds everything, the longest caption included.

    Attributes:
        size: Number of tokens, special ones included.
        pad_id: Fills short captions of a batch.
        bos_id: Begins a caption.
        eos_id: Ends a caption.
        unk_id: Stands for a word that training did not see.
        max_length: Most tokens of an encoded caption, beginning and end included.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self._inner = inner
        truncation = inner.truncation
        ids = [inner.token_to_id(token) for token in _SPECIALS]
        if truncation is None or ids != list(range(len(_SPECIALS))):
            raise ValueError(
                f"the tokenizer has special ids {ids}, expected {', '.join(_SPECIALS)} first, and truncation"
            )
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = range(len(_SPECIALS))
        self.max_length: int = truncation["max_length"]
        self.size: int = inner.get_vocab_size()
        self._pattern = pattern_of(json.loads(inner.to_str()))

    @classmethod
    def train(cls, captions: Iterable[str], *, max_length: int, min_frequency: int = 1) -> "Tokenizer":
        """The vocabulary of captions, the most frequent word first.

        Args:
            captions: Of the training split only.
            max_length: Most tokens of an encoded caption, beginning and end included.
            min_frequency: Rarer words become unknown.

        Raises:
            ValueError: There are no captions, or `max_length` leaves no room for a word.
        """
        if max_length < 3:
            raise ValueError(f"max_length is {max_length}, expected at least 3: begin, one word, end")
        inner = tokenizers.Tokenizer(models.WordLevel({}, unk_token="<unk>"))
        normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        splitter = pre_tokenizers.Split(Regex(CURRENT), behavior="removed", invert=True)
        counts = Counter(
            word for caption in captions for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption))
        )
        words = sorted(
            (word for word, count in counts.items() if count >= min_frequency), key=lambda w: (-counts[w], w)
        )
        if not words:
            raise ValueError(f"no word comes {min_frequency} times in the captions, expected captions to learn from")
        vocabulary = {word: number for number, word in enumerate((*_SPECIALS, *words))}
        inner.model = models.WordLevel(vocabulary, unk_token="<unk>")
        inner.normalizer = normalizer
        inner.pre_tokenizer = splitter
        inner.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
        inner.enable_truncation(max_length)
        return cls(inner)

    def encode(self, caption: str) -> list[int]:
        """Token ids of a caption, begin and end included; a long one is cut, but keeps its end."""
        return self._inner.encode(caption).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The caption that token ids spell, up to the first end; special tokens are left out."""
        ids = list(ids)
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        words = (self._inner.id_to_token(number) for number in ids if number >= len(_SPECIALS))
        return join((word for word in words if word is not None), self._pattern)

    def unknown(self, caption: str) -> list[str]:
        """The words of a caption that are not in the vocabulary, as they are written there."""
        encoded = self._inner.encode(caption)
        places = zip(encoded.ids, encoded.offsets, strict=True)
        return [caption[start:end] for number, (start, end) in places if number == self.unk_id]

    def limited(self, max_length: int) -> "Tokenizer":
        """The same vocabulary with another limit on the length of an encoded caption."""
        inner = tokenizers.Tokenizer.from_str(self._inner.to_str())
        inner.enable_truncation(max_length)
        return Tokenizer(inner)

    def to_json(self) -> str:
        """The `tokenizers` library's JSON, from which `from_json` makes an equal tokenizer."""
        return self._inner.to_str(pretty=True)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote.

        Raises:
            ValueError: It is not such a text.
        """
        try:
            inner = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"not a tokenizer's JSON: {error}") from error
        return cls(inner)

    def save(self, path: Path) -> None:
        """Write `to_json` to a file."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """The tokenizer in a file that `save` wrote.

        Raises:
            ValueError: The file holds something else.
            OSError: The file cannot be read.
        """
        return cls.from_json(path.read_text(encoding="utf-8"))
