"""Fonts for text in images: Pillow's own font has English letters only, and draws an empty box for any other."""

import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_LOG = logging.getLogger(__name__)
_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
# Tried last: such styles are for headings, or do not match the rest of an image.
_ODD = re.compile("black|bold|condensed|heavy|italic|light|medium|mono|narrow|oblique|semi|serif|thin", re.IGNORECASE)
_EAST_ASIAN = re.compile("CJK|IDEOGRAPHIC|FULLWIDTH|HIRAGANA|KATAKANA|BOPOMOFO|HANGUL")
_NOBODYS = "\U0010ffff"  # never assigned: every font draws its sign for missing characters
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # invisible; select the form of the previous letter


class Fonts:
    """A list of font files, and the letters that each of them has.

    Args:
        files: TrueType and OpenType files; the first that has all letters of a text is used.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = list(files)
        self._has: dict[Path | None, dict[str, bool]] = {}
        self._nowhere: set[str] = set()
        self._warned = False

    def find(self, text: str, first: Path | None = None) -> tuple[Path | None, str]:
        """Find a font for a text.

        Args:
            text: A text in any script.
            first: The preferred font, if it has all letters; None is Pillow's own.

        Returns:
            The file of a font (`first` if no other has more letters), and the text with letters that the font lacks
            replaced by their number in brackets. The first missing letters cause a warning.
        """
        text = unicodedata.normalize("NFC", text)
        letters = {
            char
            for char in _SELECTORS.sub("", text)
            if unicodedata.category(char) not in ("Cc", "Cf", "Zs", "Zl", "Zp")
        }
        best, lacking = first, self._lacking(first, letters)
        if lacking - self._nowhere:
            for file in list(self._files):
                still = self._lacking(file, letters)
                if len(still) < len(lacking):
                    best, lacking = file, still
                if not lacking - self._nowhere:
                    break
            else:
                self._nowhere |= {char for char in lacking if not any(has.get(char) for has in self._has.values())}
            if best is not None and best != first:
                self._files.remove(best)
                self._files.insert(0, best)  # the next text is in the same script
        if lacking and not self._warned:
            self._warned = True
            some = sorted(lacking)[:5]
            asian = any(_EAST_ASIAN.match(unicodedata.name(char, "")) for char in some)
            _LOG.warning(
                "no font on this machine has the letters of %r; images show the number of missing letters instead. "
                "Install a font that has them, such as the package %s of Debian and Ubuntu",
                "".join(some), "fonts-noto-cjk" if asian else "fonts-noto-core",
            )  # fmt: skip
        return best, _counted(text, lacking)

    def _lacking(self, file: Path | None, letters: set[str]) -> set[str]:
        has = self._has.setdefault(file, {})
        new = letters - has.keys()
        if new:
            try:
                has |= _drawn(load(file, 24, ImageFont.Layout.BASIC), new)
            except (OSError, ValueError):  # damaged, or a bitmap font without this size
                has |= dict.fromkeys(new, False)
        return {char for char in letters if not has[char]}


@cache
def installed() -> Fonts:
    """Return the fonts of this machine."""
    if sys.platform == "win32":
        parents = [f"{os.environ.get('WINDIR', 'C:/Windows')}/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"]
    elif sys.platform == "darwin":
        parents = ["/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"]
    else:
        shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        own = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        parents = [*(f"{folder}/fonts" for folder in (own, *shared.split(":"))), "~/.fonts"]
    files = {
        path
        for parent in parents
        for path in Path(parent).expanduser().rglob("*")
        if path.suffix.lower() in _SUFFIXES and "lastresort" not in path.name.lower()  # boxes for all letters
    }
    found = sorted(files, key=lambda path: (len(_ODD.findall(path.stem)), path.name, path))
    matplotlib = find_spec("matplotlib")  # has a font with Latin, Greek, Cyrillic and Arabic, for servers without fonts
    if matplotlib and matplotlib.origin:
        found.append(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf")
    return Fonts(found)


def find_font(text: str, size: float) -> tuple[Font, str]:
    """Find a font of this machine for a text; see `Fonts.find`.

    Args:
        text: A text in any script.
        size: Size of the font in pixels.

    Returns:
        The font, Pillow's own if it suffices, and the text as it can be drawn.
    """
    file, text = installed().find(text)
    return load(file, size), text


@lru_cache(maxsize=32)
def load(file: Path | None, size: float, layout: ImageFont.Layout | None = None) -> Font:
    """Open a font; None is Pillow's own. The basic layout draws each sign separately, the default one joins them.

    Raises:
        OSError: The file is not a font, or has no letters of this size.
    """
    if file is not None:
        return ImageFont.truetype(file, size, layout_engine=layout)
    font = ImageFont.load_default(size)
    return font.font_variant(layout_engine=layout) if isinstance(font, ImageFont.FreeTypeFont) else font


def _drawn(font: Font, letters: Iterable[str]) -> dict[str, bool]:
    """Return for each letter whether the font has a visible sign for it, other than that for missing characters."""
    box = _look(font, _NOBODYS)
    return {char: any(look := _look(font, char)[1]) and (font.getbbox(char), look) != box for char in letters}


def _look(font: Font, char: str) -> tuple[tuple[float, ...], bytes]:
    return font.getbbox(char), bytes(font.getmask(char, "L"))  # pyright: ignore[reportArgumentType]


def _counted(text: str, lacking: set[str]) -> str:
    """Replace runs of missing letters in a text, as in "a [4 letters: no font] b"."""
    if not lacking:
        return text
    one = f"[{re.escape(''.join(lacking))}]"

    def count(run: re.Match[str]) -> str:
        num = max(1, sum(char in lacking and unicodedata.category(char)[0] != "M" for char in run[0]))
        return f"[{num} letter{'s' * (num > 1)}: no font]"

    return re.sub(rf"{one}(?:\W*{one})*", count, text)
