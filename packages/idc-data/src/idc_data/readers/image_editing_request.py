"""Image-Editing-Request in its published layout."""

from collections.abc import Iterator
from pathlib import Path

from idc_data.readers.published import Published, Record, field_of, texts

_FILES = {"train": "train", "val": "valid", "test": "test"}


class ImageEditingRequest(Published):
    """Image-Editing-Request: photos before and after an edit, with requests for the edit.

    The files contain pairs more than once, under different ids and mostly with different sentences; these are merged.
    Every edit counts as a change, whatever its sentences say. 55 pairs are in both val and test; `idc-data check` can
    fix this.

    Source: Tan, Dernoncourt, Lin, Bui, Bansal, Expressing Visual Relationships via Language, ACL 2019.

    Args:
        split: train, val (the file is valid.json) or test.
        whole: As in `Published`.
        root: The folder of the JSON files.
        images: The folder of the images below `root`.
    """

    name = "image-editing-request"
    shows = "photos and edits of them (Image-Editing-Request)"
    observed = False
    layout = "train.json, valid.json, test.json and images/"
    published = {"train": 2507, "val": 357, "test": 446}

    def __init__(self, split: str, whole: bool = True, *, root: Path, images: str = "images") -> None:
        self.folders = (images,)
        super().__init__(split, whole, root=root)

    def read(self) -> Iterator[Record]:  # noqa: D102
        name = f"{_FILES.get(self.split, self.split)}.json"
        for number, record in enumerate(self.json(name, kind=list), start=1):
            where = f"{name}: record {number}"
            before, after = (f"{self.folders[0]}/{field_of(record, side, str, where)}" for side in ("img0", "img1"))
            identity = field_of(record, "uid", str, where)
            yield Record(
                identity, before, after, texts(record.get("sents"), where), where, changed=True, change_type="edit"
            )
