"""Statistics that scipy computes keep the values that the project's own code gave."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from idc_eval.calibration import confidence_auroc, rank_correlation
from idc_eval.report_data import wilson


@pytest.mark.parametrize(("won", "total"), [(0, 7), (7, 7), (3, 10), (480, 500), (1, 1)])
def test_a_share_haswilsons_interval(won, total):
    share, z = won / total, NormalDist().inv_cdf(0.975)
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt((share * (1 - share) + z * z / (4 * total)) / total) / (1 + z * z / total)
    found = wilson(np.array([1.0] * won + [0.0] * (total - won)))
    assert found == pytest.approx((max(middle - half, 0.0), min(middle + half, 1.0)), abs=1e-12)


def test_ties_count_half():
    rng = np.random.default_rng(0)
    sure, right = (rng.integers(0, 9, 80) / 8).tolist(), rng.integers(0, 2, 80).astype(bool).tolist()
    pairs = [
        (a > b) + (a == b) / 2
        for a, yes in zip(sure, right, strict=True)
        if yes
        for b, no in zip(sure, right, strict=True)
        if not no
    ]
    assert confidence_auroc(sure, right).value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert rank_correlation(sure, [value**3 for value in sure]).value == pytest.approx(1, abs=1e-12)
