"""WebDataset: tar files with `<key>.before.png`, `<key>.after.png` and `<key>.json` for each pair."""

import io
import json
import tarfile
from collections.abc import Iterable
from itertools import chain, count, islice
from pathlib import Path

from idc_data.example import ChangeExample
from idc_data.export.parquet import png
from idc_data.images import load_pair
from idc_data.whole import whole

SHARD = 1000
"""Number of pairs per tar file."""


def write_webdataset(out: Path, split: str, examples: Iterable[ChangeExample], *, shard: int = SHARD) -> list[Path]:
    """Write a split as tar files; the same examples yield the same bytes."""
    examples, written = iter(examples), list[Path]()
    for number in count():
        first = next(examples, None)
        if first is None:
            break
        path = out / f"{split}-{number:06d}.tar"
        with whole(path) as unfinished, tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as file:
            for place, example in enumerate(chain([first], islice(examples, shard - 1))):
                _add(file, f"{number * shard + place:08d}", example)
        written.append(path)
    return written


def _add(file: tarfile.TarFile, key: str, example: ChangeExample) -> None:
    regions = example.regions
    about = {
        "id": example.id,
        "references": example.references,
        "changed": example.changed,
        "change_type": example.change_type,
        "regions": None if regions is None else {"before": regions.before, "after": regions.after},
        "provenance": example.provenance,
        "truth": example.truth,
    }
    before, after = (png(pixels) for pixels in load_pair(example.before, example.after))
    text = json.dumps(about, ensure_ascii=False, allow_nan=False).encode()
    for name, content in (("before.png", before), ("after.png", after), ("json", text)):
        member = tarfile.TarInfo(f"{key}.{name}")  # its modification time is 0
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
