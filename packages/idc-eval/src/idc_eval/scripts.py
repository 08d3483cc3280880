"""Scripts that put no blanks between words, such as Chinese and Thai: how their captions become words."""

import re
import unicodedata
from collections.abc import Iterable

_RANGES = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Tibetan, Burmese, Khmer
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
)
UNSPACED = re.compile(f"[{_RANGES}]")
"""A character of such a script."""

CHARACTERS = (
    "one word for each character of a script without blanks between words (Chinese, Japanese, Thai, ...), others "
    "between blanks; lower case, punctuation removed"
)
"""What `split_characters` does, for the record of a score."""


def split_characters(caption: str) -> str:
    """Make a word of each character of such a script; words of others stay, in lower case and without punctuation."""
    words: list[str] = []
    glued = False  # whether the next sign of a spaced script goes on with the last word
    for char in unicodedata.normalize("NFKC", caption).lower():
        kind = unicodedata.category(char)[0]
        if kind == "M" and words:
            words[-1] += char  # a sign above, below or around the letter before
        elif kind not in "LMN":
            glued = False
        elif UNSPACED.match(char):
            words.append(char)
            glued = False
        elif glued:
            words[-1] += char
        else:
            words.append(char)
            glued = True
    return " ".join(words)


def count_words(caption: str) -> int:
    """How many words a caption has: between blanks, and each character of a script that has none."""
    return len((split_characters(caption) if UNSPACED.search(caption) else caption).split())


def without_blanks(captions: Iterable[str]) -> bool:
    """Whether most letters of captions are of such a script, so that words cannot be found between blanks."""
    text = "".join(captions)
    return 2 * len(UNSPACED.findall(text)) > sum(map(str.isalpha, text))
