"""An index of the lines of a large metadata file, built once, so that opening the file reads no lines.

The index is a memory-mapped NumPy file next to the splits, `.train.index.npy`, with 16 bytes per line.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from idc_data.fingerprint import fingerprint_of_sizes
from idc_data.places import image_path
from idc_data.rows import Line, Row, note_own, parse_line, unread
from idc_data.text import decoded
from idc_data.unchanged import NO_CHANGE, look_english, no_change_sentences
from idc_data.whole import whole

LARGE = 16 << 20
"""Bytes from which a metadata.jsonl gets an index: about 30,000 lines, which would take seconds to check each time."""

_VERSION = 1


class IndexedRows:
    """The rows of a large metadata.jsonl, read on demand.

    Opening the file for the first time checks every line and image, as for a small file, and writes the index. The
    index is valid while the file, its folder and `no_change.txt` are unchanged; an image that is overwritten in place
    is not noticed. In a read-only folder the index is built each time.

    Args:
        metadata: The file, in UTF-8.

    Raises:
        ValueError: A line is invalid, an id is used twice, or a file name leads out of the folder; the message names
            file and line.
        OSError: An image is missing.
    """

    def __init__(self, metadata: Path) -> None:
        self._metadata, self._sentences = metadata, no_change_sentences(metadata.parent.parent)
        path = metadata.parent.with_name(f".{metadata.parent.name}.index.npy")
        key = _key(metadata)
        self._index = _stored(path, key)
        if self._index is None:
            self._index = _build(metadata, key, self._sentences)
            try:
                with whole(path) as unfinished:
                    np.save(unfinished, self._index)
                self._index = _stored(path, key)
            except OSError:  # the dataset is read-only
                pass
        assert self._index is not None
        self.fingerprint = f"{int(self._index[0, 1]):016x}"

    def __len__(self) -> int:
        return len(self._index) - 1  # pyright: ignore[reportArgumentType]

    def line(self, index: int) -> tuple[str, Row]:
        """Return the place of a row, as `file:line`, and the row."""
        assert self._index is not None
        begin, number = self._index[1 + range(len(self))[index]].tolist()
        with self._metadata.open("rb") as file:
            file.seek(begin)
            raw = file.readline()
        where = f"{self._metadata}:{number}"
        return where, parse_line(decoded(raw, where), number, where).row(self._sentences, where)


def _key(metadata: Path) -> int:
    """Return a hash of 64 bits of what the index was built from."""
    file, sentences = metadata.stat(), metadata.parent.with_name(NO_CHANGE)
    listed = sentences.read_bytes().hex() if sentences.is_file() else ""
    made_from = [_VERSION, file.st_size, file.st_mtime_ns, metadata.parent.stat().st_mtime_ns, listed]
    return int(hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16], 16)


def _stored(path: Path, key: int) -> UInt64[np.ndarray, "lines 2"] | None:
    try:
        index = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = index.dtype == np.uint64 and index.ndim == 2 and index.shape[1] == 2 and len(index) > 1
    return index if fits and int(index[0, 0]) == key else None


def _build(metadata: Path, key: int, sentences: list[str]) -> UInt64[np.ndarray, "lines 2"]:
    """Check every line, and record its first byte and its number; the first row holds the key and the fingerprint."""
    places, ids, sizes = array("Q"), array("Q"), array("Q")
    own: dict[str, None] = {}
    silent: Line | None = None
    english = captions = 0
    for begin, number, line in _lines(metadata):
        row = line.row(sentences, f"{metadata}:{number}")
        if silent is None and not line.values.keys() & {"changed", "change_type"}:
            silent = line
        captions += len(line.references)
        english += sum(look_english([text]) for text in line.references)
        for name in (row.before_file_name, row.after_file_name):
            sizes.append(image_path(metadata.parent, name, line=f"{metadata}:{number}").stat().st_size)
        ids.append(_hash(row.id))
        places.extend((begin, number))
        own |= dict.fromkeys(line.own)
    if not places:
        raise ValueError(f"{metadata} is empty, expected one JSON object per line")
    if silent and 2 * english < captions and (problem := unread([silent], metadata.parent.parent)):
        raise ValueError(f"{metadata}:{problem[0]}: {problem[1]}")
    _check_ids(metadata, np.frombuffer(ids, np.uint64))
    note_own(metadata.parent.parent, own)
    listed = metadata.parent.with_name(NO_CHANGE)
    annotations = [metadata, *([listed] if listed.is_file() else [])]
    identity = fingerprint_of_sizes(["folder", metadata.parent.name], annotations=annotations, sizes=sizes)
    head = np.array([[key, int(identity, 16)]], np.uint64)
    return np.concatenate([head, np.frombuffer(places, np.uint64).reshape(-1, 2)])


def _lines(metadata: Path) -> Iterator[tuple[int, int, Line]]:
    begin = 0
    with metadata.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{metadata}:{number}"
            text = decoded(raw, where)
            if text.strip():
                yield begin, number, parse_line(text, number, where)
            begin += len(raw)


def _hash(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest())


def _check_ids(metadata: Path, ids: UInt64[np.ndarray, " lines"]) -> None:
    """Check that no id is used twice: first by hashes, then, if two are equal, by the ids."""
    ordered = np.sort(ids)
    alike = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    seen: set[str] = set()
    for _, number, line in _lines(metadata) if alike else ():
        name = line.values["id"]
        if name in seen:
            raise ValueError(f"{metadata}:{number}: the id {name!r} is used twice, expected a unique id")
        if _hash(name) in alike:
            seen.add(name)
