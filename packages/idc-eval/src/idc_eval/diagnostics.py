"""What else is worth knowing of a change captioner: whether order matters, what it makes up, how varied it is."""

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
    """1 if both orders of the images get captions that fit each other, else 0; NaN without the swapped one.

    They fit if both claim no change, or one says that a thing came and the other that one went, or both state another
    change: of one kind, where the kind can be read. `claims` says whether a caption claims a change.
    """
    if prediction.swapped is None:
        return math.nan
    kind = change_kind(prediction.hypothesis, claims)
    return float(change_kind(prediction.swapped, claims) == _INVERSE.get(kind, kind))


def change_kind(caption: str, claims: Callable[[str], bool] = claims_change) -> str:
    """The kind of change that any English caption states: `none`, `add`, `drop`, a scene's other types, or `other`.

    Measured by the words alone (not by the language of scenes) on CLEVR-Change captions of this project's renders:
    see `tests/eval/test_diagnostics.py`.
    """
    statement = read_statement(caption)
    return statement.change_type if statement else kind_by_words(caption, claims)


def inverse_truth(truth: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a procedural scene for its images in the other order."""
    kind = truth.get("change_type", "")
    swapped = {"before": "after", "after": "before", "changed_before": "changed_after"}
    swapped["changed_after"] = "changed_before"
    return {**truth, **{name: truth.get(other) for name, other in swapped.items()}} | {
        "change_type": _INVERSE.get(kind, kind)
    }


def hallucinates(caption: str, scene: SceneTruth) -> bool | None:
    """Whether a caption names a thing such as neither image shows; None if it names none that can be read."""
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
    """1 if the hypothesis has a colour, size, material or shape that no reference has, else 0; NaN if it has none.

    Synonyms count as one ("big", "large"). References leave much unsaid, so this is no proof of an error.
    """
    said = _attributes([prediction.hypothesis])
    return float(not said <= _attributes(prediction.references)) if said else math.nan


def names_attribute(captions: Iterable[str]) -> bool:
    """Whether any caption has a colour, size, material or shape."""
    return bool(_attributes(captions))


def distinct(hypotheses: Sequence[str], order: int) -> Measured:
    """Distinct n-grams as a share of all n-grams of the tokenised captions, 0..1; falls as there are more captions.

    Source: Li et al., "A Diversity-Promoting Objective Function", NAACL 2016.
    """
    ngrams: Counter[tuple[str, ...]] = Counter()
    for hypothesis in hypotheses:
        words = hypothesis.split()
        ngrams.update(zip(*(words[start:] for start in range(order)), strict=False))
    total = sum(ngrams.values())
    return Measured.of_corpus(len(ngrams) / total, len(hypotheses)) if total else Measured.of_corpus(math.nan, 0)


def commonest_share(hypotheses: Sequence[str]) -> Measured:
    """How large a part of all captions is one and the same sentence, 0..1: outputs that are all alike score high."""
    _, times = Counter(hypotheses).most_common(1)[0]
    return Measured.of_corpus(times / len(hypotheses), len(hypotheses))


def kind_by_words(caption: str, claims: Callable[[str], bool] = claims_change) -> str:
    """The kind of change that the words alone tell: `none`, `add`, `drop` or `other`."""
    if not claims(caption):
        return "none"
    came, went = _CAME.search(caption), _WENT.search(caption)
    return "other" if bool(came) == bool(went) else ("add" if came else "drop")


def _attributes(captions: Iterable[str]) -> set[str]:
    words = re.findall(r"[a-z]+", " ".join(captions).lower())
    return {_ATTRIBUTES[word] for word in words if word in _ATTRIBUTES}
