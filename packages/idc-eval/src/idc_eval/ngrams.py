"""N-grams counted by array operations: what BLEU and CIDEr are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

ORDERS = 4
"""The longest n-gram has so many words."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_WORD_BITS, _GRAM_BITS = 30, 34  # of a word's number, and of an n-gram's


@dataclass(frozen=True)
class Counts:
    """How often each n-gram is in each caption: a row for each n-gram that a caption holds, sorted by both.

    Attributes:
        caption: Which caption.
        gram: Which n-gram; `gram % ORDERS` is how many words it has beyond the first.
        times: How often the caption holds it, at least once.
        lengths: Words of every caption, also of those without any.
    """

    caption: Ints
    gram: Ints
    times: Ints
    lengths: Ints

    def part(self, start: int, stop: int) -> "Counts":
        """Those of some captions only, which are numbered from 0 again."""
        rows = slice(*np.searchsorted(self.caption, [start, stop]))
        return Counts(self.caption[rows] - start, self.gram[rows], self.times[rows], self.lengths[start:stop])

    def sums(self, weights: Floats | Ints) -> Floats:
        """Numbers of the rows, added up by caption and order: `captions orders`."""
        cells = self.caption * ORDERS + self.gram % ORDERS
        return np.bincount(cells, weights, len(self.lengths) * ORDERS).astype(float).reshape(-1, ORDERS)

    def rows_in(self, other: "Counts", against: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Where the n-grams of these captions are in other ones.

        Args:
            other: The corpus of the `NGrams` that counted these, or captions that were counted in the same call.
            against: For each caption here, which one there it is held against.

        Returns:
            For each row here the row there, and whether there is one (if not, the former means nothing).
        """
        keys = against[self.caption] << _GRAM_BITS | self.gram
        return _places(other.caption << _GRAM_BITS | other.gram, keys)


class NGrams:
    """The n-grams of a corpus, numbered, so that those of any captions can be counted and looked up in arrays.

    Args:
        corpus: Captions: words separated by white space. Without any, captions can be counted all the same.

    Attributes:
        corpus: The counts of the corpus.
    """

    def __init__(self, corpus: Sequence[str] = ()) -> None:
        self._words: dict[str, int] = {}
        self._known = [np.empty(0, np.int64)] * ORDERS  # by order, sorted; none of the first, which are words
        self.corpus = _counts(*self._number(corpus, learn=True))

    def count(self, *groups: Sequence[str]) -> list[Counts]:
        """Count the n-grams of each caption in some groups of captions.

        An n-gram that the corpus lacks has a number of its own in this call, and maybe another one in the next.
        """
        all_counts = _counts(*self._number(list(chain.from_iterable(groups))))
        counts, start = [], 0
        for group in groups:
            counts.append(all_counts.part(start, start + len(group)))
            start += len(group)
        return counts

    def _number(self, captions: Sequence[str], *, learn: bool = False) -> tuple[Ints, Ints]:
        """Caption and number of each n-gram as one integer, and how many words each caption has."""
        split = [caption.split() for caption in captions]
        numbers = self._words if learn else self._words.copy()
        words = np.array([numbers.setdefault(word, len(numbers)) for word in chain.from_iterable(split)], np.int64)
        lengths = np.array([len(each) for each in split], np.int64)
        caption = np.repeat(np.arange(len(split)), lengths)
        left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(words))  # words to the caption's end
        starts, ranks, found = np.arange(len(words)), words, []
        for beyond in range(ORDERS):
            if beyond:
                kept = left[starts] > beyond
                starts = starts[kept]
                # An n-gram is known by the number of all its words but the last, and that of the last.
                ranks, new = _rank(self._known[beyond], ranks[kept] << _WORD_BITS | words[starts + beyond])
                if learn:
                    self._known[beyond] = new
            found.append(caption[starts] << _GRAM_BITS | (ranks * ORDERS + beyond))
        return np.concatenate(found), lengths


def _counts(found: Ints, lengths: Ints) -> Counts:
    keys, times = np.unique(found, return_counts=True)
    return Counts(keys >> _GRAM_BITS, keys & ((1 << _GRAM_BITS) - 1), times, lengths)


def _rank(known: Ints, keys: Ints) -> tuple[Ints, Ints]:
    """The place of each key among those known; the others come after these in their own order, and are returned too."""
    ranks, found = _places(known, keys)
    new, ranks[~found] = np.unique(keys[~found], return_inverse=True)
    ranks[~found] += len(known)
    return ranks, new


def _places(among: Ints, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where keys are among sorted ones, and whether they are there at all."""
    if not len(among):
        return np.zeros_like(keys), np.zeros(len(keys), bool)
    places = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    return places, among[places] == keys
