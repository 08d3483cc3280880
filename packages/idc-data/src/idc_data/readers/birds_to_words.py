"""Birds-to-Words: the authors' table, and the JSON lines that others derived from it."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from idc_data.readers.published import Published, Record, field_of
from idc_data.rows import json_object
from idc_data.text import read_text

_TABLE = "birds-to-words-v1.0.tsv"
_SPLITS = {"train": "train", "val": "val", "test": "test", "dev": "val", "validation": "val"}


class BirdsToWords(Published):
    """Birds-to-Words: photos of two birds, and paragraphs that compare them. All pairs differ.

    Supported are the table birds-to-words-v1.0.tsv, and JSON lines whose descriptions are lists of words. The photos
    must be downloaded from iNaturalist; the name of each file is the photo's number, such as images/11924212.jpg.

    Source: Forbes, Kaeser-Chen, Sharma, Belongie, Neural Naturalist, EMNLP 2019.

    Args:
        split: train, val or test.
        whole: As in `Published`.
        root: The folder of the table or of train.json, val.json, test.json.
        images: The folder of the photos below `root`.
    """

    name = "birds-to-words"
    shows = "photos of birds (Birds-to-Words)"
    observed = False
    layout = f"{_TABLE} (or train.json, val.json, test.json, one object a line) and images/<number of the photo>.jpg"
    published = {"train": 2685, "val": 325, "test": 337}

    def __init__(self, split: str, whole: bool = True, *, root: Path, images: str = "images") -> None:
        self.folders = (images,)
        super().__init__(split, whole, root=root)

    def read(self) -> Iterator[Record]:  # noqa: D102
        lying = self.root / self.folders[0]
        self._photos = {path.stem: path.name for path in sorted(lying.iterdir())} if lying.is_dir() else {}
        table = self.annotation(_TABLE, optional=True)
        for where, row in self._table(table) if table else self._lines():
            photos = [row.get(side) or _number(row.get(f"{side}ImgURL"), where) for side in ("img1", "img2")]
            given = row.get("description")
            # A list of words, a list of such lists, or a text.
            texts = [given] if isinstance(given, str) or (given and isinstance(given[0], str)) else given or []
            sentences = tuple(text if isinstance(text, str) else " ".join(map(str, text)) for text in texts)
            before, after = (f"{self.folders[0]}/{self._photos.get(photo, f'{photo}.jpg')}" for photo in photos)
            species = {name: row[name] for name in ("img1Species", "img2Species") if row.get(name)}
            yield Record(f"{photos[0]}-{photos[1]}", before, after, sentences, where, changed=True, provenance=species)

    def _table(self, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        # Quotation marks are literal: no field contains a tab or a line end.
        rows = csv.DictReader(read_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, row in enumerate(rows, start=2):
            where = f"{path.name}:{number}"
            if _SPLITS.get(field_of(row, "split", str, where).strip().lower()) == self.split:
                yield where, row

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        path = self.annotation(f"{self.split}.json", f"{self.split}.jsonl")
        for number, line in enumerate(read_text(path).split("\n") if path else [], start=1):
            if path and line.strip():
                where = f"{path.name}:{number}"
                yield where, json_object(line, where)


def _number(url: Any, where: str) -> str:
    found = re.search(r"photos/(\d+)", url or "")
    if not found:
        raise ValueError(f"{where}: the URL of a photo is {url!r}, expected one with photos/<number>")
    return found[1]
