"""CIDEr-D in process: the same values as pycocoevalcap, fast enough to be a reward."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from idc_eval.ngrams import Counts, Floats, NGrams

_SIGMA = 6.0


class Cider:
    """CIDEr-D, 0..10, by the word weights of one corpus.

    An n-gram has the weight log(N / d): the corpus has N examples, d of them with the n-gram in any reference; log(N)
    if d is 0.

        cider = Cider(references)                       # of the scored set, as in published numbers, or
        cider = Cider(training_references)              # of the training set, once, as a reward
        rewards = cider.score(samples, their_references)  # any batch size, one value per sample

    With training references the value of a sample does not depend on its batch. Hypotheses and references must be words
    separated by spaces, as `idc_eval.ptb.tokenize` returns them.

    Source: Vedantam et al., "CIDEr", CVPR 2015 (the D variant, called CIDEr by pycocoevalcap and the field); as a
    reward: Rennie et al., "Self-Critical Sequence Training", CVPR 2017.

    Args:
        references: The corpus: all references of each example.
        grams: The n-grams of these references, if already counted.

    Raises:
        ValueError: `references` is empty.
    """

    def __init__(self, references: Sequence[Sequence[str]], grams: NGrams | None = None) -> None:
        if not references:
            raise ValueError(
                "there are no references to take word weights from, expected those of at least one example"
            )
        self._grams = grams or NGrams(list(chain.from_iterable(references)))
        self._sizes = np.array([len(each) for each in references], np.int64)
        counts = self._grams.corpus
        example = np.repeat(np.arange(len(references)), self._sizes)[counts.caption]
        size = int(counts.gram.max(initial=0)) + 1
        pairs = np.sort(example * size + counts.gram)
        once = pairs[np.diff(pairs, prepend=-1) > 0]  # count an example once, however many references it has
        self._frequency = np.bincount(once % size, minlength=size)
        self._log_examples = np.log(len(references))

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]] | None = None) -> Floats:
        """Compute CIDEr-D of each hypothesis.

        Args:
            hypotheses: Tokenised captions.
            references: At least one tokenised reference per hypothesis; by default those of the corpus.
        """
        if references is None:
            sizes, (own,), theirs = self._sizes, self._grams.count(hypotheses), self._grams.corpus
        else:
            sizes = np.array([len(each) for each in references], np.int64)
            own, theirs = self._grams.count(hypotheses, list(chain.from_iterable(references)))
        hypothesis = np.repeat(np.arange(len(sizes)), sizes)  # of each reference
        own_weights, their_weights = self._weights(own), self._weights(theirs)
        rows, shared = theirs.rows_in(own, hypothesis)
        # Clip an n-gram's count to its count in the reference.
        common = np.where(shared, np.minimum(own_weights[rows], their_weights), 0.0) if len(own_weights) else 0.0
        products = theirs.sums(common * their_weights)
        norms = np.sqrt(own.sums(own_weights**2))[hypothesis] * np.sqrt(theirs.sums(their_weights**2))
        cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
        # pycocoevalcap uses the number of bigrams as a caption's length.
        pairs, their_pairs = (np.maximum(counts.lengths - 1, 0) for counts in (own, theirs))
        likeness = cosines.mean(1) * np.exp(-((pairs[hypothesis] - their_pairs) ** 2) / (2 * _SIGMA**2))
        return 10 * np.bincount(hypothesis, likeness, len(sizes)) / sizes

    def _weights(self, counts: Counts) -> Floats:
        known = counts.gram < len(self._frequency)
        frequency = np.where(known, self._frequency[np.where(known, counts.gram, 0)], 0)
        return counts.times * (self._log_examples - np.log(np.maximum(frequency, 1)))
