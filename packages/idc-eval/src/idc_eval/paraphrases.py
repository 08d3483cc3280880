"""METEOR's paraphrases without those that cannot occur: its process starts in half a second instead of ten.

METEOR reads five million paraphrases at every start; the captions of a data set can use a few thousand. Here the table
is read once per machine, cached as word numbers (60 MB), and cut down to the words in the captions. A paraphrase with
any other word matches nothing, so scores stay the same.
"""

import gzip
import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from idc_eval.whole import whole

_AT_ONCE = 2**22  # bytes of the table read at once
_PLAIN = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Paraphrases:
    """Pairs of phrases with the same meaning.

    Attributes:
        words: All words of all phrases.
        numbers: The phrases, concatenated; each word as its index in `words`.
        lengths: Number of words of each phrase; consecutive phrases form pairs.
    """

    words: list[str]
    numbers: NDArray[np.uint16]
    lengths: NDArray[np.uint8]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Return the words as a set, for look-up."""
        return frozenset(self.words)

    @classmethod
    def load(cls) -> Self:
        """Load METEOR's paraphrases for English: from the cache, or from its own file, which takes ten seconds.

        The cache is `$XDG_CACHE_HOME/idc-eval` or `~/.cache/idc-eval`; it is skipped if it cannot be written.
        """
        from pycocoevalcap.meteor import meteor

        source = Path(meteor.__file__).with_name("data") / "paraphrase-en.gz"
        cache = _folder() / f"paraphrase-en-{source.stat().st_size}.npz"
        broken = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
        with suppress(*broken), cache.open("rb") as file, np.load(file) as kept:
            return cls(kept["words"].tobytes().decode().split("\n"), kept["numbers"], kept["lengths"])
        read = cls.read(source)
        with suppress(OSError):
            read._save(cache)
        return read

    @classmethod
    def read(cls, source: Path) -> Self:
        """Read a table in METEOR's format: per pair one line with a probability, then one for each phrase."""
        number: dict[bytes, int] = defaultdict(count().__next__)
        numbers, lengths, rest = [], [], b""
        with gzip.open(source) as file:
            while part := file.read(_AT_ONCE):
                lines = (rest + part).split(b"\n")
                whole = (len(lines) - 1) // 3 * 3
                rest = b"\n".join(lines[whole:])
                phrases = lines[:whole]
                del phrases[::3]  # the probabilities; METEOR does not use them
                text = b"\n".join(phrases)
                words = text.split()
                numbers.append(np.fromiter(map(number.__getitem__, words), np.uint16, len(words)))
                signs = np.frombuffer(text + b"\n", np.uint8)
                ends = np.flatnonzero(signs[signs <= 32] == 10)  # indices of the words that end a phrase
                lengths.append(np.diff(ends, prepend=-1).astype(np.uint8))
        assert len(number) <= 2**16
        return cls([word.decode() for word in number], np.concatenate(numbers), np.concatenate(lengths))

    def write(self, known: Iterable[str], target: Path) -> None:
        """Write the pairs with known words only, in METEOR's format."""
        vocabulary = set(known)
        # Keep words with other characters: how METEOR normalises them is not replicated here.
        may_occur = np.array([word in vocabulary or not _PLAIN.fullmatch(word) for word in self.words])
        pair_lengths = self.lengths.reshape(-1, 2).sum(1, dtype=np.int64)
        starts = np.cumsum(pair_lengths) - pair_lengths
        kept = np.logical_and.reduceat(may_occur[self.numbers], starts)
        words = np.array([f"{word} " for word in self.words], object)[self.numbers[np.repeat(kept, pair_lengths)]]
        ends = self.lengths.reshape(-1, 2)[kept].ravel().cumsum(dtype=np.int64) - 1
        # After the last word of a pair comes the next one's probability.
        words[ends[0::2]] += "\n"
        words[ends[1::2]] += "\n1\n"
        text = "1\n" + "".join(words.tolist())
        target.write_bytes(gzip.compress(text.removesuffix("1\n").encode(), 1))

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = np.frombuffer("\n".join(self.words).encode(), np.uint8)
        with whole(path) as unfinished:
            np.savez(unfinished, words=text, numbers=self.numbers, lengths=self.lengths)


def words_of(texts: Iterable[str]) -> set[str]:
    """Return all words METEOR may find in texts, maybe more: runs of letters and digits in lower case."""
    distinct = set(chain.from_iterable(text.split() for text in texts))
    return set(chain.from_iterable(_PLAIN.findall(word.lower()) for word in distinct))


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idc-eval"
