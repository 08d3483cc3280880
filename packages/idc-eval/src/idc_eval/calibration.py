"""Whether a model is surer of captions that are right than of those that are wrong."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from idc_eval.measured import Measured
from idc_eval.prediction import Prediction
from idc_eval.scripts import count_words


def confidence(prediction: Prediction) -> float:
    """The probability that the model gives a word of its caption (geometric mean, end included); NaN if unknown."""
    if prediction.log_prob is None:
        return math.nan
    return math.exp(min(prediction.log_prob / (count_words(prediction.hypothesis) + 1), 0.0))


def calibration_error(confidences: Sequence[float], right: Sequence[bool | None], bins: int = 10) -> Measured:
    """How far confidence is from the share of right captions: mean over bins of equal size, 0..1.

    Source: expected calibration error, Naeini et al., AAAI 2015. Differs: bins hold equally many captions.
    """
    sure, correct = _known(confidences, [math.nan if each is None else float(each) for each in right])
    if not len(sure):
        return Measured.of_corpus(math.nan, 0)
    order = np.argsort(sure, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    gaps = [len(part) * abs(sure[part].mean() - correct[part].mean()) for part in parts]
    return Measured.of_corpus(float(sum(gaps) / len(sure)), len(sure))


def confidence_auroc(confidences: Sequence[float], right: Sequence[bool | None]) -> Measured:
    """How likely a right caption has more confidence than a wrong one, 0..1, a half by chance; ties count half."""
    from scipy.stats import rankdata  # a second of import, which only these two need

    sure, correct = _known(confidences, [math.nan if each is None else float(each) for each in right])
    wins, losses = int(correct.sum()), int((1 - correct).sum())
    if not wins or not losses:
        return Measured.of_corpus(math.nan, 0)
    rank_sum = rankdata(sure)[correct == 1].sum()
    return Measured.of_corpus(float((rank_sum - wins * (wins + 1) / 2) / (wins * losses)), len(sure))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Measured:
    """Spearman's rank correlation, -1..1; NaN where one of the two does not vary."""
    from scipy.stats import rankdata

    one, other = (rankdata(each) for each in _known(first, second))
    if len(one) < 3 or not one.std() or not other.std():
        return Measured.of_corpus(math.nan, 0)
    return Measured.of_corpus(float(np.corrcoef(one, other)[0, 1]), len(one))


def _known(first: Sequence[float], second: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, float), np.asarray(second, float)
    kept = ~np.isnan(one) & ~np.isnan(other)
    return one[kept], other[kept]
