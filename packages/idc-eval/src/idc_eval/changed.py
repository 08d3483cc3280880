"""Whether a sentence claims that something changed: what false alarms and misses are counted by."""

import re

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


def claims_change(caption: str) -> bool:
    """Whether a caption of any data set claims a change; an empty one claims none.

    Measured on the sentences of the data sets themselves:

    - CLEVR-Change (1,542 rendered scenes): 0 of 7,728 no-change captions and 0 of 7,750 change captions misread.
    - LEVIR-CC, all splits: 0 of 25,195 captions of unchanged and 0 of 25,190 of changed pairs misread (pairs count as
      unchanged that carry the five no-change sentences).
    - Spot-the-Diff, train and val, which label no pair as unchanged: 223 of 20,927 sentences read as no change; by eye,
      5 of these do describe a change ("... a different vehicle can be seen ...").

    Args:
        caption: Any text.
    """
    words = " ".join(re.findall(r"[a-z0-9]+", caption.lower()))
    if not words:
        return False
    return not _NO_CHANGE.search(words) or bool(_AFTER_ALL.search(words))
