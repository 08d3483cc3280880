"""Attention checks: captions that are certainly wrong show whether a rater looks at the images."""

import re
from collections.abc import Iterable, Sequence

from idc_eval.changed import claims_change
from idc_eval.prediction import Prediction

_ALIKE = 0.5  # captions that share a larger fraction of words may both be true


def foreign_reference(p: Prediction, donors: Iterable[Prediction]) -> str | None:
    """Return the reference of another pair least likely to be true of this one; None if all may be true."""
    best: tuple[bool, float, str] | None = None
    for donor in donors:
        # "Nothing changed" is true of every unchanged pair.
        if donor.id == p.id or (_unchanged(donor) and _unchanged(p)):
            continue
        overlap = max(_overlap(one, other) for one in p.references for other in donor.references)
        alike = (p.change_type is not None and p.change_type == donor.change_type, overlap, donor.references[0])
        if overlap <= _ALIKE and (best is None or alike < best):
            best = alike
    return None if best is None else best[2]


def styled(reference: str, captions: Sequence[str]) -> str:
    """Write a reference in the systems' style, so that a check does not stand out."""
    if all(caption == caption.lower() for caption in captions):
        reference = reference.lower()
    if not any(caption.rstrip().endswith(".") for caption in captions):
        reference = reference.rstrip().rstrip(".").rstrip()
    return reference


def _unchanged(p: Prediction) -> bool:
    return not claims_change(p.references[0]) if p.changed is None else not p.changed


def _overlap(one: str, other: str) -> float:
    first, second = (set(re.findall(r"\w+", caption.lower())) for caption in (one, other))
    return len(first & second) / max(len(first | second), 1)
