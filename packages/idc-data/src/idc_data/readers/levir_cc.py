"""LEVIR-CC, LEVIR-MCI with its masks, and Dubai-CC: pairs of satellite images in similar layouts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from idc_data.readers.published import Published, Record, field_of, texts

_NO_CHANGE = (
    "the scene is the same as before",
    "there is no difference",
    "the two scenes seem identical",
    "no change has occurred",
    "almost nothing has changed",
)


class LevirCC(Published):
    """LEVIR-CC: satellite images of buildings and roads, five sentences per pair. With `label/` it is LEVIR-MCI.

    Supported are LevirCCcaptions.json as published, its later version with `changeflag`, and a file with sentences by
    split and file name. The flag tells whether a pair changed; without it the majority of the sentences does. Masks in
    `label/` are converted to boxes.

    Source: Liu, Zhao, Chen, Zou, Shi, Remote Sensing Image Change Captioning With Dual-Branch Transformers, TGRS 2022;
    Liu, Chen, Zhang, Qi, Zou, Shi, Change-Agent, TGRS 2024 (masks).

    Args:
        split: train, val or test.
        whole: As of `Published`.
        root: The folder of the JSON file and images/.
        masks: Whether to read the masks; by default if they exist. LEVIR-MCI is `masks=true`.
    """

    name = "levir-cc"
    shows = "satellite images of towns (LEVIR-CC)"
    layout = "LevirCCcaptions.json and images/<split>/A/, B/ and, for LEVIR-MCI, label/"
    published = {"train": 6815, "val": 1333, "test": 1929}
    no_change = _NO_CHANGE
    folders = ("images",)
    files = ("LevirCCcaptions.json", "LevirCCcaptions_v1.json", "levir_cc_captions.json")

    def __init__(self, split: str, whole: bool = True, *, root: Path, masks: bool | None = None) -> None:
        self._masks = (Path(root) / "images" / split / "label").is_dir() if masks is None else masks
        super().__init__(split, whole, root=root)

    def settings(self) -> tuple[bool, ...]:  # noqa: D102
        return (self._masks,)

    def read(self) -> Iterator[Record]:  # noqa: D102
        content = self.json(*self.files)
        by_split = content.get(self.split)
        if isinstance(by_split, dict):
            for name, sentences in by_split.items():
                where = f"{self._files[0].name}: {self.split} {name}"
                yield self._record(name, texts(sentences, where), where)
            return
        for number, image in enumerate(content.get("images", ()), start=1):
            where = f"{self._files[0].name}: image {number}"
            name = field_of(image, "filename", str, where)
            if field_of(image, "split", str, where) == self.split:
                yield self._record(name, raw_sentences(image, where), where, image.get("changeflag"))

    def _record(self, name: str, sentences: tuple[str, ...], where: str, flag: Any = None) -> Record:
        folder = f"images/{self.split}"
        return Record(
            Path(name).stem,
            f"{folder}/A/{name}",
            f"{folder}/B/{name}",
            sentences,
            where,
            changed=None if flag is None else bool(int(flag)),
            mask=f"{folder}/label/{name}" if self._masks else None,
        )


class LevirMCI(LevirCC):
    """LEVIR-MCI: LEVIR-CC with a mask of changed buildings and roads for every pair."""

    name = "levir-mci"

    def __init__(self, split: str, whole: bool = True, *, root: Path) -> None:
        super().__init__(split, whole, root=root, masks=True)


class DubaiCC(Published):
    """Dubai-CC: 500 pairs of small satellite images of Dubai in 2000 and 2010, five sentences per pair.

    Source: Hoxha, Chouaf, Melgani, Smara, Change Captioning: A New Paradigm for Multitemporal Remote Sensing Image
    Analysis, TGRS 2022.

    Args:
        split: train, val or test.
        whole: As of `Published`.
        root: The folder datasetDubaiCCPublic.
        before: The folder of the images of 2000 below `root`.
        after: The folder of the images of 2010.
    """

    name = "dubai-cc"
    shows = "satellite images of Dubai (Dubai-CC)"
    layout = (
        "description_jsontr_te_val/Train*.json, Validation*.json, Test*.json and imgs_tiles/RGB/500_2000/, 500_2010/"
    )
    published = {"train": 300, "val": 50, "test": 150}
    no_change = _NO_CHANGE

    def __init__(
        self,
        split: str,
        whole: bool = True,
        *,
        root: Path,
        before: str = "imgs_tiles/RGB/500_2000",
        after: str = "imgs_tiles/RGB/500_2010",
    ) -> None:
        self.folders = (before, after)
        super().__init__(split, whole, root=root)

    def read(self) -> Iterator[Record]:  # noqa: D102
        start = {"train": "Train", "val": "Validation", "test": "Test"}.get(self.split, self.split)
        lying = sorted((self.root / "description_jsontr_te_val").glob(f"{start}*.json"))
        name = f"description_jsontr_te_val/{lying[0].name if lying else f'{start}.json'}"
        for number, image in enumerate(self.json(name).get("images", ()), start=1):
            where = f"{name}: image {number}"
            tile = field_of(image, "filename", str, where)
            before, after = (f"{folder}/{tile}" for folder in self.folders)
            yield Record(Path(tile).stem, before, after, raw_sentences(image, where), where)


def raw_sentences(image: Any, where: str) -> tuple[str, ...]:
    """Return the sentences of an image in Karpathy's format of COCO: each `{"tokens": [...], "raw": "..."}`."""
    return tuple(field_of(each, "raw", str, where) for each in field_of(image, "sentences", list, where))
