"""Features of a split's images in one memory-mapped file of half-precision numbers, one row per distinct image."""

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Float
from numpy.lib.format import open_memmap

from idc_data.example import ChangeExample, Reader, read_examples
from idc_data.whole import write_whole

_CHECKED = 64
"""Number of rows whose checksums are verified when a file is opened."""

_SAVED_EVERY = 512
"""Number of rows between two points from which an interrupted computation can continue."""


class FeatureFile:
    """A `.npy` file of rows with a `.json` file of their checksums, written completely or not at all.

    Args:
        path: The `.npy` file.

    Raises:
        ValueError: The file is damaged.
        OSError: The file is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()
        try:
            checksums = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["crc32"]
            rows = np.linspace(0, len(self._rows) - 1, min(_CHECKED, len(self._rows)), dtype=int).tolist()
            whole = len(checksums) == len(self._rows) and all(_crc(self._rows[row]) == checksums[row] for row in rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"features {str(path)!r} are damaged: their checksums cannot be read ({error})") from error
        if not whole:
            raise ValueError(f"features {str(path)!r} are damaged: they do not match their checksums")

    def _open(self) -> None:
        try:
            self._rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"features {str(self.path)!r} are damaged: {error}") from error

    def __getitem__(self, row: int) -> Float[np.ndarray, "..."]:
        return self._rows[row]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row."""
        return self._rows.shape[1:]

    def __getstate__(self) -> Path:
        return self.path  # worker processes map the file themselves

    def __setstate__(self, path: Path) -> None:
        self.path = path
        self._open()


def feature_file(
    path: Path,
    num: int,
    compute: Callable[[Sequence[int]], Float[np.ndarray, "rows ..."]],
    advance: Callable[[int], None] = lambda num: None,
    *,
    batch: int = 64,
) -> FeatureFile:
    """Open a file of features; if it is missing or damaged, compute it first, continuing an interrupted computation.

    Processes that need the same file wait for the one that computes it.

    Args:
        path: The `.npy` file. Its name must identify everything that the features depend on.
        num: Number of rows.
        compute: Returns the features of some rows: finite numbers, all rows of the same shape.
        advance: Called with the number of rows just completed.
        batch: Number of rows to compute at once.

    Raises:
        ValueError: A feature is not finite as float16, or `compute` raises this error.
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            try:
                return FeatureFile(path)
            except ValueError:
                path.unlink()
        _compute(path, num, compute, advance, batch)
    return FeatureFile(path)


def _compute(
    path: Path,
    num: int,
    compute: Callable[[Sequence[int]], Float[np.ndarray, "rows ..."]],
    advance: Callable[[int], None],
    batch: int,
) -> None:
    unfinished, state = path.with_suffix(".unfinished"), path.with_suffix(".done")
    rows, checksums = _left(unfinished, state)
    advance(len(checksums))
    saved = len(checksums)
    while len(checksums) < num:
        start = len(checksums)
        values = compute(range(start, min(start + batch, num)))
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(
                f"features reach {np.abs(values).max():.3g}, expected finite numbers up to 65504, the maximum of "
                "float16: scale them down, or use the images"
            )
        if rows is None:
            rows = open_memmap(unfinished, mode="w+", dtype=np.float16, shape=(num, *half.shape[1:]))
        rows[start : start + len(half)] = half
        checksums += [_crc(row) for row in half]
        advance(len(half))
        if len(checksums) - saved >= _SAVED_EVERY:
            rows.flush()
            write_whole(state, json.dumps(checksums).encode())
            saved = len(checksums)
    assert rows is not None
    rows.flush()
    write_whole(path.with_suffix(".json"), json.dumps({"crc32": checksums}).encode())
    unfinished.replace(path)
    state.unlink(missing_ok=True)


def _left(unfinished: Path, state: Path) -> tuple[Any, list[int]]:
    """Return the rows that an interrupted process has left, and the checksums of the completed ones."""
    try:
        checksums = json.loads(state.read_text(encoding="utf-8"))
        rows = np.load(unfinished, mmap_mode="r+", allow_pickle=False)
        if all(_crc(row) == checksum for row, checksum in zip(rows, checksums, strict=False)):
            return rows, checksums
    except (OSError, ValueError, EOFError):
        pass
    return None, []


def _crc(row: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(row).data)


class WithFeatures:
    """A split whose pairs carry the features of their images.

    Args:
        reader: The split.
        file: The features of its distinct images: one row, or one `.npy` file, for each.
        rows: For each pair, the rows of before and after in the file: int64 `pairs 2`.
    """

    endless = False

    def __init__(self, reader: Reader, file: FeatureFile | Sequence[Path], rows: np.ndarray) -> None:
        self._reader, self._file, self._rows = reader, file, rows
        self.fingerprint = reader.fingerprint  # the images are the same

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> ChangeExample:
        return self._with(index, self._reader[index])

    def examples(self, indices: Iterable[int]) -> list[ChangeExample]:
        """Read several pairs at once."""
        chosen = list(indices)
        examples = read_examples(self._reader, chosen)
        return [self._with(index, example) for index, example in zip(chosen, examples, strict=True)]

    def _with(self, index: int, example: ChangeExample) -> ChangeExample:
        before, after = self._rows[index].tolist()
        return replace(example, inputs=(self._file[before], self._file[after]))
