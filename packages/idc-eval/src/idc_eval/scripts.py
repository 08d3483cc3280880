"""Split captions into words in scripts without spaces between words, such as Chinese and Thai."""

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
    "one word per character of a script without spaces between words (Chinese, Japanese, Thai, ...), others "
    "at spaces; lower case, punctuation removed"
)
"""Description of `split_characters`, stored with scores."""


def split_characters(caption: str) -> str:
    """Split such scripts into characters and others into words, in lower case, without punctuation."""
    words: list[str] = []
    glued = False  # whether the next character of a spaced script continues the last word
    for char in unicodedata.normalize("NFKC", caption).lower():
        kind = unicodedata.category(char)[0]
        if kind == "M" and words:
            words[-1] += char  # a combining mark of the letter before
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
    """Count words: separated by spaces, or each character of a script without spaces."""
    return len((split_characters(caption) if UNSPACED.search(caption) else caption).split())


def without_blanks(captions: Iterable[str]) -> bool:
    """Return whether most letters of captions belong to a script without spaces between words."""
    text = "".join(captions)
    return 2 * len(UNSPACED.findall(text)) > sum(map(str.isalpha, text))
