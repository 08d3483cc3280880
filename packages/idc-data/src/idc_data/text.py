"""Reads text files: UTF-8 with or without a byte order mark, or UTF-16 with one."""

import codecs
from pathlib import Path

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: Path) -> str:
    """Read a text file, for example one saved by a spreadsheet; line ends are not converted.

    Raises:
        ValueError: The file has another encoding; the message names the line.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}: line {line} is not in UTF-8 ({error.reason}); save the file as UTF-8") from error


def is_utf16(path: Path) -> bool:
    """Return whether a file begins with a byte order mark of UTF-16."""
    with path.open("rb") as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decoded(line: bytes, where: str) -> str:
    """Decode a line of a file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: The line has another encoding.
    """
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: it is not in UTF-8 ({error.reason}); save the file as UTF-8") from error
