"""Whether a model is more confident in right captions than in wrong ones."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from idc_eval.measured import Measured
from idc_eval.prediction import Prediction
from idc_eval.scripts import count_words


def confidence(prediction: Prediction) -> float:
    """Return the model's mean probability of a caption's words (geometric mean, end included); NaN if unknown."""
    if prediction.log_prob is None:
        return math.nan
    return math.exp(min(prediction.log_prob / (count_words(prediction.hypothesis) + 1), 0.0))


def calibration_error(confidences: Sequence[float], right: Sequence[bool | None], bins: int = 10) -> Measured:
    """Return the mean gap between confidence and the share of right captions, over bins of equal size, 0..1.

    Source: expected calibration error, Naeini et al., AAAI 2015. Differs: each bin holds the same number of captions.
    """
    sure, correct = _known(confidences, [math.nan if each is None else float(each) for each in right])
    if not len(sure):
        return Measured.of_corpus(math.nan, 0)
    order = np.argsort(sure, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    gaps = [len(part) * abs(sure[part].mean() - correct[part].mean()) for part in parts]
    return Measured.of_corpus(float(sum(gaps) / len(sure)), len(sure))


def confidence_auroc(confidences: Sequence[float], right: Sequence[bool | None]) -> Measured:
    """Return the chance that a right caption has higher confidence than a wrong one (AUROC); ties count half."""
    from scipy.stats import rankdata  # takes a second to import; only these two functions need it

    sure, correct = _known(confidences, [math.nan if each is None else float(each) for each in right])
    wins, losses = int(correct.sum()), int((1 - correct).sum())
    if not wins or not losses:
        return Measured.of_corpus(math.nan, 0)
    rank_sum = rankdata(sure)[correct == 1].sum()
    return Measured.of_corpus(float((rank_sum - wins * (wins + 1) / 2) / (wins * losses)), len(sure))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Measured:
    """Return Spearman's rank correlation, -1..1; NaN if either input is constant."""
    from scipy.stats import rankdata

    one, other = (rankdata(each) for each in _known(first, second))
    if len(one) < 3 or not one.std() or not other.std():
        return Measured.of_corpus(math.nan, 0)
    return Measured.of_corpus(float(np.corrcoef(one, other)[0, 1]), len(one))


def _known(first: Sequence[float], second: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, float), np.asarray(second, float)
    kept = ~np.isnan(one) & ~np.isnan(other)
    return one[kept], other[kept]
