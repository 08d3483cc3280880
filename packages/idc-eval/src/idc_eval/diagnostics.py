"""Diagnostics of a change captioner: sensitivity to image order, hallucinations, variety of captions."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from idc_eval.changed import claims_change
from idc_eval.measured import Measured
from idc_eval.prediction import Prediction
from idc_eval.scene_truth import SceneTruth, looks_like
from idc_eval.statement import MATERIALS, SHAPES, SIZES, read_statement

_INVERSE = {"add": "drop", "drop": "add"}
_CAME = re.compile(
    r"\b(add(?:ed|s)?|appear(?:s|ed)?|new(?:ly)?|built|constructed|emerge[sd]?|placed|shows? up)\b", re.I
)
_WENT = re.compile(
    r"\b(remov(?:ed?|es)|gone|missing|disappear(?:s|ed)?|vanish(?:es|ed)|demolished|torn down|no longer|left the)\b",
    re.I,
)
_COLORS = """gray grey red blue green brown purple cyan yellow black white orange pink silver gold golden beige tan
maroon violet turquoise magenta"""
_ATTRIBUTES = {word: word for word in _COLORS.split()} | {"grey": "gray", "golden": "gold"} | SIZES | MATERIALS | SHAPES


def swap_consistency(prediction: Prediction, claims: Callable[[str], bool] = claims_change) -> float:
    """Return 1 if the captions for both image orders are consistent, else 0; NaN without a swapped caption.

    They are consistent if both claim no change; if one states an addition and the other a removal; or if both state
    another change, of the same kind where it can be read. `claims` tells whether a caption claims a change.
    """
    if prediction.swapped is None:
        return math.nan
    kind = change_kind(prediction.hypothesis, claims)
    return float(change_kind(prediction.swapped, claims) == _INVERSE.get(kind, kind))


def change_kind(caption: str, claims: Callable[[str], bool] = claims_change) -> str:
    """Return the change an English caption states: `none`, `add`, `drop`, another scene type, or `other`.

    `tests/eval/test_diagnostics.py` measures how well words alone work, without the grammar of the scenes.
    """
    statement = read_statement(caption)
    return statement.change_type if statement else kind_by_words(caption, claims)


def inverse_truth(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Return the truth of a procedural scene for its images in reverse order."""
    kind = truth.get("change_type", "")
    swapped = {"before": "after", "after": "before", "changed_before": "changed_after"}
    swapped["changed_after"] = "changed_before"
    return {**truth, **{name: truth.get(other) for name, other in swapped.items()}} | {
        "change_type": _INVERSE.get(kind, kind)
    }


def hallucinates(caption: str, scene: SceneTruth) -> bool | None:
    """Return whether a caption names an object that neither image shows; None if no object can be read from it."""
    statement = read_statement(caption)
    if statement is None or statement.thing is None:
        return None
    phrase, objects = statement.thing, (*scene.before, *scene.after)
    while phrase is not None:
        if not any(looks_like(phrase, thing) for thing in objects):
            return True
        phrase = phrase.anchor
    return False


def unsupported_attribute(prediction: Prediction) -> float:
    """Return 1 if the hypothesis names an attribute that no reference names, else 0; NaN if it names none.

    Attributes are colour, size, material and shape; synonyms count as one ("big", "large"). References are incomplete,
    so a 1 does not prove an error.
    """
    named = _attributes([prediction.hypothesis])
    return float(not named <= _attributes(prediction.references)) if named else math.nan


def names_attribute(captions: Iterable[str]) -> bool:
    """Return whether any caption names a colour, size, material or shape."""
    return bool(_attributes(captions))


def distinct(hypotheses: Sequence[str], order: int) -> Measured:
    """Return the share of distinct n-grams among all n-grams, 0..1; it falls with the number of captions.

    Source: Li et al., "A Diversity-Promoting Objective Function", NAACL 2016.
    """
    ngrams: Counter[tuple[str, ...]] = Counter()
    for hypothesis in hypotheses:
        words = hypothesis.split()
        ngrams.update(zip(*(words[start:] for start in range(order)), strict=False))
    total = sum(ngrams.values())
    return Measured.of_corpus(len(ngrams) / total, len(hypotheses)) if total else Measured.of_corpus(math.nan, 0)


def commonest_share(hypotheses: Sequence[str]) -> Measured:
    """Return the share of the commonest caption among all captions, 0..1; high for repetitive output."""
    _, times = Counter(hypotheses).most_common(1)[0]
    return Measured.of_corpus(times / len(hypotheses), len(hypotheses))


def kind_by_words(caption: str, claims: Callable[[str], bool] = claims_change) -> str:
    """Return the kind of change judged by words alone: `none`, `add`, `drop` or `other`."""
    if not claims(caption):
        return "none"
    came, went = _CAME.search(caption), _WENT.search(caption)
    return "other" if bool(came) == bool(went) else ("add" if came else "drop")


def _attributes(captions: Iterable[str]) -> set[str]:
    words = re.findall(r"[a-z]+", " ".join(captions).lower())
    return {_ATTRIBUTES[word] for word in words if word in _ATTRIBUTES}
