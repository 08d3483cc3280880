"""Limits the cost of decoding an image file, by one pass over its structure before decoding.

A file of a few kilobytes can keep a decoder busy for minutes: 200,000 scans of a progressive JPEG, a million chunks of
a PNG, metadata that claims the file's length for each of 65,535 tags. After this check, the decoding time of JPEG, PNG
and WebP, which servers accept, is proportional to their pixels and bytes; GIF and TIFF are checked for the same tricks.
Other formats are meant for the user's own files and are not checked.

Parts of JPEG and PNG files that do not affect the pixels are removed: texts, thumbnails, additional images.
"""

import re
import struct
import zlib
from typing import NamedTuple

MAX_SCANS = 100
"""Scans of a JPEG. Encoders write 10, mozjpeg up to about 20. An empty scan of 25 million pixels costs 15 ms."""
MAX_SEGMENTS = 4_000
"""Segments of a JPEG, 64 KiB each. A photo with depth map and extended XMP has a few hundred."""
MAX_CHUNKS = 20_000
"""Chunks of a PNG, WebP or GIF, plus one per kilobyte for PNG: libpng writes 8 KiB of pixels per chunk."""
MAX_PROFILE = 4 * 2**20
"""Bytes of a colour profile; larger ones are ignored. Profiles of printers have 0.5 to 3 MB."""
MAX_STRIPS = 200_000
"""Strips or tiles of a TIFF: enough for tiles of 16 x 16 pixels in an image of 50 million pixels."""

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_ARITHMETIC = frozenset((*range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_PIXELS_OF_PNG = {b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PIXELS_OF_JPEG = {*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xE2, 0xEE}  # frames, tables, restarts; JFIF, ICC, Adobe


class Refused(ValueError):
    """Reason why an image is refused, to follow its name: `is a JPEG of more than 100 scans`."""


class Structure(NamedTuple):
    """A file that is safe to decode.

    Attributes:
        data: The file, or the parts of it that determine the pixels.
        exif: Its EXIF data, if removed from `data`.
        profile: Its colour profile, likewise.
    """

    data: bytes
    exif: bytes = b""
    profile: bytes = b""


def check_structure(data: bytes) -> Structure:
    """Check that a file can be decoded in time proportional to its pixels and bytes.

    Raises:
        Refused: It cannot.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _webp(data)
    elif data.startswith(b"GIF8"):
        _gif(data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        _tiff(data)
    return Structure(data)


def _jpeg(data: bytes) -> Structure:
    head, exif, scans, begin, end, at = [b"\xff\xd8"], b"", 0, None, len(data), 2
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None or data[marker.start() + 1] == 0xD9:
            end = marker.end() if marker else end
            return Structure(b"".join(head) + data[end if begin is None else begin : end], exif)
        kind, at = data[marker.start() + 1], marker.end()
        if kind in (0x01, 0xD8):
            continue
        if kind in _ARITHMETIC:
            raise Refused("is an arithmetic-coded JPEG, which few programs can read; save it again")
        segment = data[at : at + int.from_bytes(data[at : at + 2])]
        at += max(2, len(segment))
        if kind == 0xDA:
            scans, begin = scans + 1, marker.start() if begin is None else begin
            if scans > MAX_SCANS:
                raise Refused(f"is a JPEG of more than {MAX_SCANS} scans; save it again")
        elif begin is None and kind in _PIXELS_OF_JPEG and (kind != 0xE2 or segment[2:14] == b"ICC_PROFILE\0"):
            head.append(marker.group() + segment)
        elif kind == 0xE1 and not exif and segment[2:8] == b"Exif\0\0":
            exif = segment[8:]
    raise Refused(f"is a JPEG of more than {MAX_SEGMENTS:,} segments; save it again")


def _png(data: bytes) -> Structure:
    kept, exif, profile, at = [data[:8]], b"", b"", 8
    for _ in range(MAX_CHUNKS + len(data) // 1024):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"eXIf":
            exif = data[at + 8 : end - 4]
        elif kind == b"iCCP":
            profile = _inflate(data[at + 8 : end - 4].partition(b"\0")[2][1:])
        elif kind in _PIXELS_OF_PNG or not kind[:1].islower():  # lower-case chunks are optional
            kept.append(data[at:end])
        if kind == b"IEND" or end > len(data):
            return Structure(b"".join(kept), exif, profile)
        at = end
    raise Refused("is a PNG of too many small chunks; save it again")


def _inflate(packed: bytes) -> bytes:
    """Decompress a colour profile; empty if it is damaged or too large."""
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(packed, MAX_PROFILE)
    except zlib.error:
        return b""
    return b"" if unpacking.unconsumed_tail else profile


def _webp(data: bytes) -> None:
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    raise Refused(f"is a WebP of more than {MAX_CHUNKS:,} chunks; save it again")


def _gif(data: bytes) -> None:
    """Limit the number of blocks before the first image: a comment may have very many."""
    at, flags = 13, data[10:11]
    if flags and flags[0] & 0x80:
        at += 3 << (flags[0] & 7) + 1
    for _ in range(MAX_CHUNKS):
        if data[at : at + 1] != b"!":
            return
        at += 2
        for _ in range(MAX_CHUNKS):
            if at >= len(data) or not data[at]:
                break
            at += 1 + data[at]
        else:
            break
        at += 1
    raise Refused(f"is a GIF with more than {MAX_CHUNKS:,} blocks before its first image; save it again")


def _tiff(data: bytes) -> None:
    """Check the claimed sizes of tags, including EXIF and GPS, because each tag is read into memory."""
    entries = _entries(data)
    for pointer in [entry.value for entry in entries if entry.tag in (0x8769, 0x8825, 0xA005)]:
        entries = entries + _entries(data, pointer)
    claimed = sum(entry.size for entry in entries)
    if claimed > 2 * len(data):
        raise Refused(f"is a TIFF whose tags claim {claimed:,} bytes, but the file has {len(data):,}; save it again")
    if any(entry.tag in (0x0111, 0x0144) and entry.many > MAX_STRIPS for entry in entries):
        raise Refused(f"is a TIFF of more than {MAX_STRIPS:,} strips or tiles; save it again")


class _Entry(NamedTuple):
    tag: int
    many: int
    size: int
    value: int


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def _entries(data: bytes, start: int = 0) -> list[_Entry]:
    """Return the entries of a directory of a TIFF or of EXIF, by default the first, without truncated ones."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return []
    if not start:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return []
    (many,) = struct.unpack_from(f"{order}H", data, start)
    found = []
    for at in range(start + 2, min(start + 2 + 12 * many, len(data) - 11), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", data, at)
        if kind == 3 and count == 1:
            (value,) = struct.unpack_from(f"{order}H", data, at + 8)
        found.append(_Entry(tag, count, count * _SIZES.get(kind, 1), value))
    return found


def orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or damaged."""
    found = [entry.value for entry in _entries(exif.removeprefix(b"Exif\0\0")) if entry.tag == 0x0112]
    return found[0] if found and 1 <= found[0] <= 8 else 1


def bands(tiff: bytes) -> int | None:
    """Return the number of values per pixel of a TIFF; None if unknown, or not a TIFF."""
    found = [entry.value for entry in _entries(tiff) if entry.tag == 0x0115]
    return found[0] if found else None
