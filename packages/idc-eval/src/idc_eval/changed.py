"""Tell whether a caption claims a change, and whether this reading can be trusted on a data set."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property

from idc_eval.prediction import Prediction
from idc_eval.scripts import UNSPACED

AGREEMENT = 0.9
"""Share of the references, of changed and of unchanged pairs each, that must be read as their label says."""

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
# Words that most English captions contain and that do not occur in neighbouring languages.
_ENGLISH = re.compile(
    r"""\b(?: the | are | were | been | there | and | with | from | this | which | nothing | near | behind | below
    | above | an? \s (?=\w) .* \b (?:is|was|has) | changed? | changes | difference | same | identical | added | removed
    | appear(?:s|ed)? | disappear(?:s|ed)? | gone | missing | moved | replaced | built | cars? | people | buildings?
    | trees? | houses? | roads? )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def claims_change(caption: str) -> bool:
    """Return whether an English caption claims a change; a caption without letters claims none.

    Measured on the sentences of the data sets themselves:

    - CLEVR-Change (1,542 rendered scenes): 0 of 7,728 no-change captions and 0 of 7,750 change captions misread.
    - LEVIR-CC, all splits: 0 of 25,195 captions of unchanged and 0 of 25,190 of changed pairs misread (a pair counts as
      unchanged if it has the five no-change sentences).
    - Spot-the-Diff, train and val, which have no unchanged pairs: 223 of 20,927 sentences were read as no change;
      checked by hand, 5 of these describe a change ("... a different vehicle can be seen ...").

    Args:
        caption: Any text. In other languages nearly every sentence counts as a change; `ChangeReader` detects this.
    """
    words = " ".join(re.findall(r"[a-z0-9]+", caption.lower()))
    if not words:
        return any(map(str.isalpha, caption))
    return not _NO_CHANGE.search(words) or bool(_AFTER_ALL.search(words))


class ChangeReader:
    """Reads whether captions of one data set claim a change, and reports when that reading is unreliable.

    It knows English and the given no-change sentences. It checks itself on the references: those of changed pairs
    should claim a change, those of unchanged pairs should not.

    Args:
        predictions: All predictions of the data set.
        no_change: Sentences, or parts of sentences, that mean "nothing changed" in this data set, in any language;
            case, punctuation and Unicode form are ignored.
    """

    def __init__(self, predictions: Sequence[Prediction], no_change: Iterable[str] = ()) -> None:
        self._predictions = predictions
        self._phrases = [phrase for phrase in map(_plain, no_change) if phrase]
        self._seen: dict[str, bool] = {}

    def claims_change(self, caption: str) -> bool:
        """Return whether a caption claims a change."""
        if caption not in self._seen:
            self._seen[caption] = claims_change(caption) and not self._listed(caption)
        return self._seen[caption]

    @cached_property
    def doubt(self) -> str:
        """Return why the readings of these captions are unreliable; empty if they are reliable."""
        unchecked = []
        for changed, kind in ((False, "unchanged"), (True, "changed")):
            claims = [
                self.claims_change(text) for p in self._predictions if p.changed is changed for text in p.references
            ]
            wrong = len(claims) - claims.count(changed)
            if wrong > (1 - AGREEMENT) * len(claims):
                read = "claiming no change" if changed else "claiming a change"
                return (
                    f"{wrong:,} of {len(claims):,} references of {kind} pairs were read as {read} "
                    f"({self._knows}): they are in another language or other words, or labelled wrongly" + self._remedy
                )
            if not claims:
                unchecked.append(kind)
        if unchecked and not self._phrases:
            return self.foreign and (
                f"captions are read as English, these look like another language, and no {unchecked[0]} pairs exist to "
                f"check the reading on{self._remedy}"
            )
        return ""

    @property
    def doubt_of_kinds(self) -> str:
        """Return why the kind of change, read from English words, is unreliable; empty if it is reliable."""
        return self.doubt or self.foreign

    @cached_property
    def foreign(self) -> str:
        """Return why a reading by English words alone is unreliable; empty if most captions look English."""
        texts = [text for p in self._predictions for text in (p.hypothesis, *p.references) if text.strip()]
        english = sum(bool(_ENGLISH.search(text)) for text in texts)
        if 2 * english >= len(texts):
            return ""
        return f"captions are read as English, and only {english:,} of {len(texts):,} look English"

    @property
    def _knows(self) -> str:
        return "known: English" + (f" and {len(self._phrases)} given no-change sentences" if self._phrases else "")

    @property
    def _remedy(self) -> str:
        if self._phrases:
            return "; add the missing no-change sentences"
        return "; list the sentences that mean no change: --no-change FILE, or eval.no_change in the spec of a run"

    def _listed(self, caption: str) -> bool:
        plain = _plain(caption)
        # In scripts without spaces between words, a phrase has no spaces around it.
        return any(
            phrase.replace(" ", "") in plain.replace(" ", "")
            if UNSPACED.search(phrase)
            else f" {phrase} " in f" {plain} "
            for phrase in self._phrases
        )


def _plain(text: str) -> str:
    kept = (char if unicodedata.category(char)[0] in "LMN" else " " for char in unicodedata.normalize("NFKC", text))
    return " ".join("".join(kept).casefold().split())
