"""Whether a sentence claims that something changed, and whether its reader can be trusted with a data set."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property

from idc_eval.prediction import Prediction
from idc_eval.scripts import UNSPACED

AGREEMENT = 0.9
"""The part of the references of changed pairs, and of unchanged ones, that the reader must read as their labels say."""

_NO_CHANGE = re.compile(
    r"""
    ^ none $
    | \b (?: no | not | cannot | cant | (?:is|are|was|do|does|did|can|could)n?\ t ) \b (?!\ longer)
      (?:\ \w+){0,4}? \ (?:chang|differ|modif|alter)\w*            # there is no apparent difference, i don t see any
    | \b nothing \b .* \b (?:chang|differ|modif|alter)\w*          # nothing in the second image appears to have changed
    | \b (?: unchanged | identical | same\ as\ before | everything\ is\ as\ it\ was ) \b
    | \b (?: are | is | looks? | stays? | remains? )\ the\ same $
    | \b same\ (?:scene|picture|photo|image)s? $                   # the two images show the same scene
    """,
    re.VERBOSE,
)
_AFTER_ALL = re.compile(r"\b(?:except|besides|but|only|other than|apart from|not (?:the same|identical))\b")
# Words that captions of this field rarely do without, and that look like no word of a neighbouring language.
_ENGLISH = re.compile(
    r"""\b(?: the | are | were | been | there | and | with | from | this | which | nothing | near | behind | below
    | above | an? \s (?=\w) .* \b (?:is|was|has) | changed? | changes | difference | same | identical | added | removed
    | appear(?:s|ed)? | disappear(?:s|ed)? | gone | missing | moved | replaced | built | cars? | people | buildings?
    | trees? | houses? | roads? )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def claims_change(caption: str) -> bool:
    """Whether an English caption of any data set claims a change; one without a letter claims none.

    Measured on the sentences of the data sets themselves:

    - CLEVR-Change (1,542 rendered scenes): 0 of 7,728 no-change captions and 0 of 7,750 change captions misread.
    - LEVIR-CC, all splits: 0 of 25,195 captions of unchanged and 0 of 25,190 of changed pairs misread (pairs count as
      unchanged that carry the five no-change sentences).
    - Spot-the-Diff, train and val, which label no pair as unchanged: 223 of 20,927 sentences read as no change; by eye,
      5 of these do describe a change ("... a different vehicle can be seen ...").

    Args:
        caption: Any text. In another language than English nearly every sentence is taken for a change: `ChangeReader`
            finds out.
    """
    words = " ".join(re.findall(r"[a-z0-9]+", caption.lower()))
    if not words:
        return any(map(str.isalpha, caption))
    return not _NO_CHANGE.search(words) or bool(_AFTER_ALL.search(words))


class ChangeReader:
    """Reads whether captions of one data set claim a change, and says where it cannot be trusted with them.

    It knows English and the no-change sentences it is given, and tries itself on the references: those of pairs marked
    as changed are to claim a change, those of unchanged ones none.

    Args:
        predictions: Of the data set, all that there are.
        no_change: Sentences or parts of sentences by which captions of this data set say that nothing changed, in any
            language; upper case, punctuation and Unicode form do not matter.
    """

    def __init__(self, predictions: Sequence[Prediction], no_change: Iterable[str] = ()) -> None:
        self._predictions = predictions
        self._phrases = [phrase for phrase in map(_plain, no_change) if phrase]
        self._seen: dict[str, bool] = {}

    def claims_change(self, caption: str) -> bool:
        """Whether a caption claims a change."""
        if caption not in self._seen:
            self._seen[caption] = claims_change(caption) and not self._listed(caption)
        return self._seen[caption]

    @cached_property
    def doubt(self) -> str:
        """Why what the reader says of these captions is not to be used; nothing where it is."""
        unchecked = []
        for changed, kind in ((False, "unchanged"), (True, "changed")):
            said = [
                self.claims_change(text) for p in self._predictions if p.changed is changed for text in p.references
            ]
            wrong = len(said) - said.count(changed)
            if wrong > (1 - AGREEMENT) * len(said):
                read = "claiming no change" if changed else "claiming a change"
                return (
                    f"the reader of captions takes {wrong:,} of {len(said):,} references of {kind} pairs as {read}: "
                    f"{self._knows}, and these are in another language, say it in other words, or are marked wrongly"
                    + self._remedy
                )
            if not said:
                unchecked.append(kind)
        if unchecked and not self._phrases:
            return self.foreign and (
                f"the reader of captions knows English, these look otherwise, and no {unchecked[0]} pairs are there to "
                f"try it on{self._remedy}"
            )
        return ""

    @property
    def doubt_of_kinds(self) -> str:
        """Why the kind of a change, which is read by English words, is not to be used; nothing where it is."""
        return self.doubt or self.foreign

    @cached_property
    def foreign(self) -> str:
        """Why what is read by English words alone cannot be used; nothing where most captions look English."""
        texts = [text for p in self._predictions for text in (p.hypothesis, *p.references) if text.strip()]
        english = sum(bool(_ENGLISH.search(text)) for text in texts)
        if 2 * english >= len(texts):
            return ""
        return f"it reads English, and only {english:,} of {len(texts):,} captions look English"

    @property
    def _knows(self) -> str:
        return "it knows English" + (f" and {len(self._phrases)} no-change sentences given" if self._phrases else "")

    @property
    def _remedy(self) -> str:
        if self._phrases:
            return "; add to the sentences"
        return "; list how they say that nothing changed: --no-change FILE, or eval.no_change of a run"

    def _listed(self, caption: str) -> bool:
        plain = _plain(caption)
        # Where no blanks stand between words, none stand around a phrase.
        return any(
            phrase.replace(" ", "") in plain.replace(" ", "")
            if UNSPACED.search(phrase)
            else f" {phrase} " in f" {plain} "
            for phrase in self._phrases
        )


def _plain(text: str) -> str:
    kept = (char if unicodedata.category(char)[0] in "LMN" else " " for char in unicodedata.normalize("NFKC", text))
    return " ".join("".join(kept).casefold().split())
