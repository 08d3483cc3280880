"""Spot-the-Diff in its published layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from idc_data.readers.published import Published, Record, field_of, texts


class SpotTheDiff(Published):
    """Spot-the-Diff: frames of surveillance cameras, with one or more sentences per difference.

    Up to three records describe the same pair and are merged. Some state that there are no differences.

    Source: Jhamtani, Berg-Kirkpatrick, Learning to Describe Differences Between Pairs of Similar Images, EMNLP 2018.

    Args:
        split: train, val or test.
        whole: As in `Published`.
        root: The folder of the JSON files, or the parent of `annotations`.
        images: The folder of the images below `root`.
        sentences: With `each`, every sentence is a reference (the single-change protocol); with `joined`, those of a
            record form one (the multi-change protocol). Scores of the two cannot be compared.
    """

    name = "spot-the-diff"
    shows = "frames of surveillance cameras (Spot-the-Diff)"
    layout = "train.json, val.json, test.json (or in annotations/) and resized_images/76.png, 76_2.png, ..."
    published = {"train": 8566, "val": 1493, "test": 1270}

    def __init__(
        self,
        split: str,
        whole: bool = True,
        *,
        root: Path,
        images: str = "resized_images",
        sentences: Literal["each", "joined"] = "each",
    ) -> None:
        self.folders, self._sentences = (images,), sentences
        super().__init__(split, whole, root=root)

    def settings(self) -> tuple[str, ...]:  # noqa: D102
        return (self._sentences,)

    def read(self) -> Iterator[Record]:  # noqa: D102
        name = f"{self.split}.json"
        for number, record in enumerate(self.json(name, f"annotations/{name}", kind=list), start=1):
            where = f"{name}: record {number}"
            identity = field_of(record, "img_id", str, where)
            sentences = texts(record.get("sentences"), where)
            if self._sentences == "joined":
                sentences = (". ".join(text.strip() for text in sentences if text.strip()),)
            image = f"{self.folders[0]}/{identity}"
            yield Record(identity, f"{image}.png", f"{image}_2.png", sentences, where)
