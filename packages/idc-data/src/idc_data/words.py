"""Splits captions into words and joins words into captions.

A tokenizer's JSON holds the pattern for splitting, which also identifies the version of both operations: files of older
versions hold `FIRST` and keep their behaviour.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

# Scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
_UNSPACED = (
    "\u0e01-\u0e2e\u0e30-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0f00-\u0fff\u1000-\u109f\u1780-\u17dd"
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Signs of these scripts that belong to the preceding letter.
_SIGNS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u0f18\u0f19\u0f35\u0f37\u0f39\u0f3e\u0f3f"
    "\u0f71-\u0f84\u0f86\u0f87\u0f8d-\u0fbc\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d"
    "\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d\u17b4-\u17d3\u17dd\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
)
_STOPS = "\u3001-\u3003\u3008-\u3011\u3014-\u301b"  # punctuation of Han and kana that NFKC does not convert to ASCII

_ENCLOSED = "\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189"

FIRST = r"\w+(?:['’-]\w+)*|[^\w\s]"
"""The pattern of the first version, which split "3.50" into three words and treated a Chinese sentence as one word."""


def _pattern(letter: str) -> str:
    """Return the pattern, in the syntax shared by Python and Oniguruma (of the `tokenizers` library, for older files).

    Args:
        letter: The characters of words, as the inside of a character class.
    """
    one = rf"(?:(?![{_UNSPACED}])[{letter}])"
    number = r"(?:(?<![^\s(\[])[-−+±~]?[$£€¥]?(?=\d))?"  # -3, $5, but not the last of 2-3
    inner = r"(?:['’\u200c\u200d-]|(?<=\d)[.,:/⁄](?=\d))".replace(r"\u200c\u200d", "\u200c\u200d")
    return "|".join(
        (
            rf"(?<![{letter}.])(?:(?!\d){one}\.){{2,}}",  # e.g., a.m.
            rf"{number}{one}+(?:{inner}{one}+)*(?:(?<=\d)(?:[%‰]|°[cf]?(?![{letter}])))?",
            rf"(?![{_SIGNS}])[{_UNSPACED}][{_SIGNS}]*",
            rf"[^{letter}\s]\ufe0f?".replace(r"\ufe0f", "\ufe0f"),
            rf"[{_SIGNS}]",
        )
    )


CURRENT = _pattern(r"\w")
"""The pattern of new tokenizers: "3.50", "10:30", "-3", "50%" and "e.g." are words, and so is each Chinese character.

Captions without such words are split as by `FIRST`.
"""


def pattern_of(tokenizer: Mapping[str, Any]) -> str:
    """Return the pattern in a tokenizer's JSON; `FIRST` if it has no known pattern."""
    try:
        pattern = tokenizer["pre_tokenizer"]["pattern"]["Regex"]
    except (KeyError, TypeError):
        return FIRST
    return CURRENT if pattern == CURRENT else FIRST


def split(caption: str, pattern: str) -> list[str]:
    """Split a caption into words; splitting the result of `join` returns its words."""
    return _compiled(pattern == CURRENT, caption.isascii()).findall(caption)


def join(words: Iterable[str], pattern: str) -> str:
    """Join words with spaces, but without a space before a comma or between Chinese characters."""
    text = " ".join(words)
    if pattern != CURRENT:
        return re.sub(r" ([.,;:!?])", r"\1", text)
    text = re.sub(r" (?=[.,;:!?)\]}”’،؛؟।])|(?<=[(\[{“‘¿¡#@]) | (?=/)|(?<=/) ", "", text)
    text = re.sub(r'" ([^"]*) "', r'"\1"', text)
    return re.sub(f" (?=[{_UNSPACED}{_STOPS}])|(?<=[{_UNSPACED}{_STOPS}]) ", "", text)


def has_unspaced(text: str) -> bool:
    """Return whether a text has characters of a script without spaces between words, such as Chinese."""
    return bool(re.search(f"[{_UNSPACED}]", text))


def pieces(text: str) -> list[str]:
    """Split a text where a line may break: after spaces, and around each character of a script without spaces."""
    one, word = rf"(?![{_SIGNS}])[{_UNSPACED}]", rf"(?:(?![{_UNSPACED}])\S)+"
    return re.findall(rf"{one}[{_SIGNS}]*(?:(?![{_UNSPACED}])[^\w\s])*\s*|{word}\s*|\S?\s*", text)[:-1]


def columns(text: str) -> int:
    """Return the width of a text in columns of a terminal: two for each Chinese, Japanese or Korean character."""
    return sum(1 + (unicodedata.east_asian_width(char) in "FW") for char in text if not unicodedata.combining(char))


def wrap(text: str, width: float, measure: Callable[[str], float] = columns) -> list[str]:
    """Break a text into lines, after spaces and between Chinese characters; a word longer than a line is split.

    Args:
        text: The text; each run of white space counts as one space.
        width: Maximum width of a line.
        measure: Returns the width of a text; by default in columns.

    Returns:
        The lines, at least one.
    """
    lines = [""]
    for piece in pieces(" ".join(text.split())):
        if measure((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
            continue
        if lines[-1]:
            lines.append("")
        for char in piece:
            if lines[-1] and measure((lines[-1] + char).rstrip()) > width:
                lines.append("")
            lines[-1] += char
    return [line.rstrip() for line in lines]


@cache
def _compiled(current: bool, plain: bool) -> re.Pattern[str]:
    """Compile `CURRENT` or `FIRST` for Python.

    Args:
        current: Whether to compile `CURRENT`.
        plain: Compile for ASCII only, which is faster. Otherwise word characters (backslash w) are those of Oniguruma,
            including vowel signs of Hindi and others, ties, and letters in circles and squares.
    """
    if plain:
        return re.compile(_pattern(r"\w").replace(f"(?![{_UNSPACED}])", "") if current else FIRST)
    chars = map(chr, range(0x80, 0x20000))
    letter = r"\w" + "".join(c for c in chars if unicodedata.category(c) in ("Mn", "Me", "Mc", "Pc")) + _ENCLOSED
    first = FIRST.replace(r"\w+", f"[{letter}]+").replace(r"[^\w", f"[^{letter}")
    return re.compile(_pattern(letter) if current else first)
