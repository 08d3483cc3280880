"""BLEU, ROUGE-L and CIDEr of tokenised captions: same values as pycocoevalcap, much faster."""

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

_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's constants against division by zero in BLEU
_BETA = 1.2  # ROUGE-L's weight of recall over precision


@dataclass(frozen=True)
class Captions:
    """Tokenised captions: one hypothesis and at least one reference per example."""

    hypotheses: list[str]
    references: list[list[str]]

    @cached_property
    def grams(self) -> NGrams:
        """Return the n-grams of all references."""
        return NGrams(list(chain.from_iterable(self.references)))


def tokenized(predictions: Sequence[Prediction]) -> Captions:
    """Tokenise all captions of the predictions in one call."""
    texts = [reference for prediction in predictions for reference in prediction.references]
    # References first, then hypotheses, the order of pycocoevalcap: how an abbreviation's full stop is tokenised
    # depends on the text after it.
    words = iter(tokenize([*texts, *(prediction.hypothesis for prediction in predictions)]))
    references = [[next(words) for _ in prediction.references] for prediction in predictions]
    return Captions(hypotheses=list(words), references=references)


def bleu(captions: Captions) -> list[Measured]:
    """Compute BLEU-1 to BLEU-4 with the closest reference length, 0..1, 1 for copies of references.

    Source: Papineni et al., "BLEU", ACL 2002. Values of single examples are smoothed by 1e-15 / 1e-9, so they never
    reach 0 or 1.
    """
    sums = bleu_sums(captions)
    corpus, each = bleu_values(sums.sum(0)), bleu_values(sums)
    return [Measured(float(corpus[order]), each[:, order].tolist()) for order in range(ORDERS)]


def bleu_sums(captions: Captions) -> Floats:
    """Count what BLEU sums over examples, `n 10`.

    Columns: for each order, the n-grams of the hypothesis and how many of them match; the number of words in the
    hypothesis; the number of words in the reference closest to it in length (the shorter one on a tie).
    """
    sizes = [len(each) for each in captions.references]
    hypothesis = np.repeat(np.arange(len(sizes)), sizes)  # of each reference
    (own,), theirs = captions.grams.count(captions.hypotheses), captions.grams.corpus
    rows, shared = theirs.rows_in(own, hypothesis)
    allowed = np.zeros_like(own.times)
    np.maximum.at(allowed, rows[shared], theirs.times[shared])
    own_grams = np.maximum(own.lengths[:, None] - np.arange(ORDERS), 0)
    right = own.sums(np.minimum(own.times, allowed))
    apart = np.abs(theirs.lengths - own.lengths[hypothesis])
    # Sort by example, then by difference in length, then by length: the first row of each example is the closest.
    order = np.lexsort((theirs.lengths, apart, hypothesis))
    closest = theirs.lengths[order[np.cumsum([0, *sizes[:-1]])]]
    return np.column_stack([own_grams, right, own.lengths, closest]).astype(float)


def bleu_values(sums: Floats) -> Floats:
    """Compute BLEU-1 to BLEU-4, `... 4`, from the sums of `bleu_sums`, `... 10`."""
    precisions = (sums[..., ORDERS : 2 * ORDERS] + _TINY) / (sums[..., :ORDERS] + _SMALL)
    ratio = (sums[..., -2] + _TINY) / (sums[..., -1] + _SMALL)
    brevity = np.exp(np.minimum(1 - 1 / ratio, 0))
    return precisions.cumprod(-1) ** (1 / np.arange(1, ORDERS + 1)) * brevity[..., None]


def rouge_l(captions: Captions) -> Measured:
    """Compute ROUGE-L: F of the longest common subsequence, beta 1.2, 0..1; 1 if each hypothesis equals a reference.

    Source: Lin, "ROUGE", 2004. Best precision and best recall may come from different references.
    """
    return average([_rouge_l(*both) for both in zip(captions.hypotheses, captions.references, strict=True)])


def cider(captions: Captions) -> Measured:
    """Compute CIDEr-D, 0..10; 10 only if all references of an example and the hypothesis are the same sentence.

    Words are weighted by their inverse document frequency in the scored set, so values compare only within one set;
    never average over batches. An n-gram in every example's references has weight 0, so a single example always scores
    0. `Cider` takes the weights from another corpus.

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
    """Return the length of the longest common subsequence, with one addition of big integers per word.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004.

    Args:
        where: The first caption: each word with its positions as bits.
        length: Number of positions.
        words: The other caption.
    """
    full = (1 << length) - 1
    open_places = full
    for word in words:
        matches = open_places & where.get(word, 0)
        open_places = (open_places + matches) | (open_places - matches)
    return length - (open_places & full).bit_count()
