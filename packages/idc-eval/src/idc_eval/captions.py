"""BLEU, ROUGE-L and CIDEr of tokenised captions: the values of pycocoevalcap, at a fraction of its time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from idc_eval.cider import Cider
from idc_eval.measured import Measured, average
from idc_eval.ngrams import ORDERS, Floats, NGrams
from idc_eval.prediction import Prediction
from idc_eval.ptb import tokenize

_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's, against division by zero in BLEU
_BETA = 1.2  # of ROUGE-L: how much more recall counts than precision


@dataclass(frozen=True)
class Captions:
    """Tokenised captions: one hypothesis and at least one reference per example."""

    hypotheses: list[str]
    references: list[list[str]]

    @cached_property
    def grams(self) -> NGrams:
        """The n-grams of all references."""
        return NGrams(list(chain.from_iterable(self.references)))


def tokenized(predictions: Sequence[Prediction]) -> Captions:
    """Tokenise all captions of the predictions in one go."""
    texts = [reference for prediction in predictions for reference in prediction.references]
    # References first, then hypotheses, as pycocoevalcap orders them: an abbreviation's full stop is read in the
    # light of what follows.
    words = iter(tokenize([*texts, *(prediction.hypothesis for prediction in predictions)]))
    references = [[next(words) for _ in prediction.references] for prediction in predictions]
    return Captions(hypotheses=list(words), references=references)


def bleu(captions: Captions) -> list[Measured]:
    """BLEU-1 to BLEU-4 with the closest reference length, 0..1, 1 where each hypothesis is one of its references.

    Source: Papineni et al., "BLEU", ACL 2002. Example values are smoothed by 1e-15 / 1e-9, so they are never quite 0
    or 1.
    """
    sums = bleu_sums(captions)
    corpus, each = bleu_values(sums.sum(0)), bleu_values(sums)
    return [Measured(float(corpus[order]), each[:, order].tolist()) for order in range(ORDERS)]


def bleu_sums(captions: Captions) -> Floats:
    """What BLEU adds up over examples, `n 10`.

    Columns: for each order how many n-grams the hypothesis has, and how many of them are right; the words of the
    hypothesis; the words of the reference that is closest to it in length, of the shorter one if two are.
    """
    sizes = [len(each) for each in captions.references]
    hypothesis = np.repeat(np.arange(len(sizes)), sizes)  # of each reference
    (own,), theirs = captions.grams.count(captions.hypotheses), captions.grams.corpus
    rows, shared = theirs.rows_in(own, hypothesis)
    allowed = np.zeros_like(own.times)
    np.maximum.at(allowed, rows[shared], theirs.times[shared])
    said = np.maximum(own.lengths[:, None] - np.arange(ORDERS), 0)
    right = own.sums(np.minimum(own.times, allowed))
    apart = np.abs(theirs.lengths - own.lengths[hypothesis])
    # Sorted by example, then by how far apart the lengths are, then by length: the first of each example is closest.
    order = np.lexsort((theirs.lengths, apart, hypothesis))
    closest = theirs.lengths[order[np.cumsum([0, *sizes[:-1]])]]
    return np.column_stack([said, right, own.lengths, closest]).astype(float)


def bleu_values(sums: Floats) -> Floats:
    """BLEU-1 to BLEU-4, `... 4`, of such sums, `... 10`."""
    precisions = (sums[..., ORDERS : 2 * ORDERS] + _TINY) / (sums[..., :ORDERS] + _SMALL)
    ratio = (sums[..., -2] + _TINY) / (sums[..., -1] + _SMALL)
    brevity = np.exp(np.minimum(1 - 1 / ratio, 0))
    return precisions.cumprod(-1) ** (1 / np.arange(1, ORDERS + 1)) * brevity[..., None]


def rouge_l(captions: Captions) -> Measured:
    """ROUGE-L: longest common subsequence, F with beta 1.2, 0..1, 1 where each hypothesis is one of its references.

    Source: Lin, "ROUGE", 2004. Best precision and best recall may come from different references.
    """
    return average([_rouge_l(*both) for both in zip(captions.hypotheses, captions.references, strict=True)])


def cider(captions: Captions) -> Measured:
    """CIDEr-D, 0..10; 10 only where all references of an example are one sentence and the hypothesis repeats it.

    Words weigh by how few examples' references hold them, so a value depends on the set that is scored: compare
    values of one set only, and never average over batches. An n-gram in every example's references weighs nothing,
    hence a single example always scores 0. `Cider` weighs by the words of another corpus.

    Source: Vedantam et al., "CIDEr", CVPR 2015 (the D variant, called CIDEr by pycocoevalcap and the field).
    """
    return average(Cider(captions.references, captions.grams).score(captions.hypotheses).tolist())


def _rouge_l(hypothesis: str, references: Sequence[str]) -> float:
    words = hypothesis.split(" ")  # an empty caption is one empty word, as with pycocoevalcap
    where: dict[str, int] = {}
    for place, word in enumerate(words):
        where[word] = where.get(word, 0) | 1 << place
    precision = recall = 0.0
    for reference in references:
        others = reference.split(" ")
        common = _common_subsequence(where, len(words), others)
        precision, recall = max(precision, common / len(words)), max(recall, common / len(others))
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision) if precision else 0.0


def _common_subsequence(where: dict[str, int], length: int, words: Sequence[str]) -> int:
    """Length of the longest common subsequence, by one addition of big integers for each word.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004.

    Args:
        where: The one caption: each of its words with its places as bits.
        length: How many places there are.
        words: The other caption.
    """
    full = (1 << length) - 1
    open_places = full
    for word in words:
        matches = open_places & where.get(word, 0)
        open_places = (open_places + matches) | (open_places - matches)
    return length - (open_places & full).bit_count()
