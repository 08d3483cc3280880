"""Tar files in WebDataset's format, read without unpacking: `<key>.before.png`, `<key>.after.png`, `<key>.json`."""

import json
import tarfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from idc_data.example import ChangeExample, Regions
from idc_data.fingerprint import fingerprint
from idc_data.images import load_image
from idc_data.unchanged import claims_change


class WebDataset(Sequence[ChangeExample]):
    """A split in tar files `<split>-*.tar` of WebDataset's format; images are read from their position in the file.

    Args:
        split: train, val or test.
        root: The folder of the tar files.
        before: The name of the before image after the key, without extension.
        after: The name of the after image, likewise.
        captions: The field of `<key>.json` with a sentence or a list of them; without such a file, `<key>.txt` is read.

    Raises:
        ValueError: A file is not an uncompressed tar file, or a pair lacks an image or sentences.
        FileNotFoundError: There are no such files.
    """

    endless = False

    def __init__(
        self, split: str, *, root: Path, before: str = "before", after: str = "after", captions: str = "references"
    ) -> None:
        self.split, self._root = split, Path(root)
        self._settings, self._captions = (before, after, captions), captions
        self._shards = sorted(self._root.glob(f"{split}-*.tar"))
        if not self._shards:
            raise FileNotFoundError(f"there is no {str(self._root / f'{split}-*.tar')!r}")
        self._pairs: list[tuple[str, dict[str, tuple[Path, int, int]]]] = []
        for shard in self._shards:
            for key, members in _members(shard).items():
                named = {name.split(".")[0]: place for name, place in members.items()}
                for wanted in (before, after):
                    if wanted not in named:
                        has = ", ".join(sorted(named))
                        raise ValueError(f"{str(shard)!r}: {key!r} has no {wanted!r}, only {has}")
                self._pairs.append((key, {"before": named[before], "after": named[after], **_about(named)}))

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the settings and the sizes of the tar files."""
        return fingerprint(["webdataset", self.split, *self._settings], annotations=[], images=self._shards)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        key, places = self._pairs[index]
        about: dict[str, Any] = json.loads(_read(places["json"])) if "json" in places else {}
        given = about.get(self._captions) if about else _read(places["txt"]).decode() if "txt" in places else None
        given = [given] if isinstance(given, str) else given or []
        references = tuple(text.strip() for text in given if isinstance(text, str) and text.strip())
        if not references:
            raise ValueError(
                f"{str(places['before'][0])!r}: {key!r} has no sentence in {self._captions!r} or {key}.txt"
            )
        changed = bool(about["changed"]) if about.get("changed") is not None else claims_change(references, ())
        regions = about.get("regions")
        return ChangeExample(
            id=str(about.get("id") or f"{places['before'][0].stem}-{key}"),
            before=_image(places["before"]),
            after=_image(places["after"]),
            references=references,
            changed=changed,
            change_type=about.get("change_type") or ("change" if changed else "none"),
            split=self.split,
            regions=Regions(*(tuple(map(tuple, regions[side])) for side in ("before", "after"))) if regions else None,
            provenance=about.get("provenance"),
            truth=about.get("truth"),
        )


def _about(named: dict[str, tuple[Path, int, int]]) -> dict[str, tuple[Path, int, int]]:
    return {name: named[name] for name in ("json", "txt") if name in named}


def _members(shard: Path) -> dict[str, dict[str, tuple[Path, int, int]]]:
    """Return key -> name after the key -> position of the contents: file, first byte, number of bytes."""
    found: dict[str, dict[str, tuple[Path, int, int]]] = {}
    try:
        with tarfile.open(shard, "r:") as file:
            for member in file:
                if member.isfile():
                    folder, slash, name = member.name.rpartition("/")
                    key, _, rest = name.partition(".")
                    found.setdefault(f"{folder}{slash}{key}", {})[rest] = (shard, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ValueError(f"{str(shard)!r} is not an uncompressed tar file: {error}") from error
    return found


def _read(place: tuple[Path, int, int]) -> bytes:
    path, begin, size = place
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(size)


def _image(place: tuple[Path, int, int]) -> np.ndarray:
    try:
        return load_image(_read(place))
    except ValueError as error:
        raise ValueError(f"{str(place[0])!r}: {error}") from error
