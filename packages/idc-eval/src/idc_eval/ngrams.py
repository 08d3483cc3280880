"""Count n-grams by array operations, for BLEU and CIDEr."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

ORDERS = 4
"""Length of the longest n-gram, in words."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_WORD_BITS, _GRAM_BITS = 30, 34  # bits of a word's number and of an n-gram's


@dataclass(frozen=True)
class Counts:
    """How often each n-gram is in each caption: one row per caption and n-gram, sorted by both.

    Attributes:
        caption: Index of the caption.
        gram: Number of the n-gram; `gram % ORDERS` is its order minus one.
        times: How often the caption contains it, at least 1.
        lengths: Number of words of every caption, including empty ones.
    """

    caption: Ints
    gram: Ints
    times: Ints
    lengths: Ints

    def part(self, start: int, stop: int) -> "Counts":
        """Return the counts of a range of captions, renumbered from 0."""
        rows = slice(*np.searchsorted(self.caption, [start, stop]))
        return Counts(self.caption[rows] - start, self.gram[rows], self.times[rows], self.lengths[start:stop])

    def sums(self, weights: Floats | Ints) -> Floats:
        """Sum the rows' weights by caption and order: `captions orders`."""
        cells = self.caption * ORDERS + self.gram % ORDERS
        return np.bincount(cells, weights, len(self.lengths) * ORDERS).astype(float).reshape(-1, ORDERS)

    def rows_in(self, other: "Counts", against: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Find the rows of these n-grams in other captions.

        Args:
            other: The corpus of the `NGrams` that counted these, or captions that were counted in the same call.
            against: For each caption here, the index of the caption there to compare with.

        Returns:
            For each row here, the row there and whether it exists (if not, ignore the former).
        """
        keys = against[self.caption] << _GRAM_BITS | self.gram
        return _places(other.caption << _GRAM_BITS | other.gram, keys)


class NGrams:
    """The numbered n-grams of a corpus, for counting and looking up n-grams of any captions in arrays.

    Args:
        corpus: Captions: words separated by white space. May be empty.

    Attributes:
        corpus: The counts of the corpus.
    """

    def __init__(self, corpus: Sequence[str] = ()) -> None:
        self._words: dict[str, int] = {}
        self._known = [
            np.empty(0, np.int64)
        ] * ORDERS  # by order, sorted; order 1 stays empty, since words have numbers already
        self.corpus = _counts(*self._number(corpus, learn=True))

    def count(self, *groups: Sequence[str]) -> list[Counts]:
        """Count the n-grams of each caption in some groups of captions.

        An n-gram that is not in the corpus gets a number that is valid only within this call.
        """
        all_counts = _counts(*self._number(list(chain.from_iterable(groups))))
        counts, start = [], 0
        for group in groups:
            counts.append(all_counts.part(start, start + len(group)))
            start += len(group)
        return counts

    def _number(self, captions: Sequence[str], *, learn: bool = False) -> tuple[Ints, Ints]:
        """Return caption and number of each n-gram as one integer, and the number of words of each caption."""
        split = [caption.split() for caption in captions]
        numbers = self._words if learn else self._words.copy()
        words = np.array([numbers.setdefault(word, len(numbers)) for word in chain.from_iterable(split)], np.int64)
        lengths = np.array([len(each) for each in split], np.int64)
        caption = np.repeat(np.arange(len(split)), lengths)
        left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(words))  # words to the caption's end
        starts, ranks, coded = np.arange(len(words)), words, []
        for beyond in range(ORDERS):
            if beyond:
                kept = left[starts] > beyond
                starts = starts[kept]
                # The key of an n-gram: the number of all its words but the last, and the number of the last.
                ranks, new = _rank(self._known[beyond], ranks[kept] << _WORD_BITS | words[starts + beyond])
                if learn:
                    self._known[beyond] = new
            coded.append(caption[starts] << _GRAM_BITS | (ranks * ORDERS + beyond))
        return np.concatenate(coded), lengths


def _counts(coded: Ints, lengths: Ints) -> Counts:
    keys, times = np.unique(coded, return_counts=True)
    return Counts(keys >> _GRAM_BITS, keys & ((1 << _GRAM_BITS) - 1), times, lengths)


def _rank(known: Ints, keys: Ints) -> tuple[Ints, Ints]:
    """Return the rank of each key among the known ones; new keys rank after these, sorted, and are returned too."""
    ranks, present = _places(known, keys)
    new, ranks[~present] = np.unique(keys[~present], return_inverse=True)
    ranks[~present] += len(known)
    return ranks, new


def _places(among: Ints, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the positions of keys among sorted ones, and whether they are present."""
    if not len(among):
        return np.zeros_like(keys), np.zeros(len(keys), bool)
    places = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    return places, among[places] == keys
