"""Groups of pairs with similar difficulty, length or confidence."""

import math
from collections.abc import Sequence

Group = tuple[str, list[int]]
"""The label of a group, and the rows of its pairs."""

_BINS = 5


def binned(values: Sequence[float]) -> list[Group]:
    """Split pairs into up to five bins of about equal size by a number; pairs without one (NaN) are left out."""
    import numpy as np

    known = np.array([(row, value) for row, value in enumerate(values) if math.isfinite(value)]).reshape(-1, 2)
    if not len(known):
        return []
    bins = min(_BINS, max(2, len(known) // 10))
    edges = np.unique(np.quantile(known[:, 1], np.linspace(0, 1, bins + 1)[1:-1]))
    which = np.searchsorted(edges, known[:, 1], side="left")
    groups = []
    for at in np.unique(which):
        part = known[which == at]
        low, high = (f"{end:.3g}" for end in (part[:, 1].min(), part[:, 1].max()))
        groups.append((low if low == high else f"{low} to {high}", part[:, 0].astype(int).tolist()))
    return groups
