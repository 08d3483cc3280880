"""Tells whether a caption claims that nothing changed: in English, or by a data set's own sentences.

It infers `changed` of lines that omit it. `idc_eval.changed` uses the same rules for scores; a test keeps the two
equal.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from idc_data.text import read_text
from idc_data.words import has_unspaced

NO_CHANGE = "no_change.txt"
"""File in a data set with its no-change sentences, or parts of them, one per line, in any language."""

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
    r"""\b(?: the | are | were | been | there | and | with | from | this | which | nothing | near | behind | above
    | below | an? \s (?=\w) .* \b (?:is|was|has) | changed? | changes | difference | same | identical | added | removed
    | appear(?:s|ed)? | disappear(?:s|ed)? | gone | missing | moved | replaced | built | cars? | people | buildings?
    | trees? | houses? | roads? )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def no_change_sentences(dataset: Path) -> list[str]:
    """Return the no-change sentences in a data set's `no_change.txt`; none if there is no such file."""
    file = dataset / NO_CHANGE
    return [plain for line in read_text(file).splitlines() if (plain := _plain(line))] if file.is_file() else []


def claims_change(references: Sequence[str], sentences: Collection[str]) -> bool:
    """Return whether at least half of the references of a pair claim a change.

    Args:
        references: The references of one pair.
        sentences: The data set's own no-change sentences.
    """
    return 2 * sum(_claims_change(reference, sentences) for reference in references) >= len(references)


def look_english(captions: Iterable[str]) -> bool:
    """Return whether at least half of the captions contain a common English word."""
    seen = [bool(_ENGLISH.search(caption)) for caption in captions]
    return 2 * sum(seen) >= len(seen)


def _claims_change(caption: str, sentences: Collection[str]) -> bool:
    words = " ".join(re.findall(r"[a-z0-9]+", caption.lower()))
    if not words:
        change = any(map(str.isalpha, caption))
    else:
        change = not _NO_CHANGE.search(words) or bool(_AFTER_ALL.search(words))
    return change and not (sentences and _listed(_plain(caption), sentences))


def _listed(plain: str, sentences: Iterable[str]) -> bool:
    # In scripts without spaces between words, a sentence has no spaces around it.
    return any(
        each.replace(" ", "") in plain.replace(" ", "") if has_unspaced(each) else f" {each} " in f" {plain} "
        for each in sentences
    )


def _plain(text: str) -> str:
    kept = (char if unicodedata.category(char)[0] in "LMN" else " " for char in unicodedata.normalize("NFKC", text))
    return " ".join("".join(kept).casefold().split())
