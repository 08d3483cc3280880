"""CLEVR-Change in its published layout."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from idc_data.example import Box, Regions
from idc_data.readers.published import Published, Record, read_json, texts

_CAPTIONS = {True: "change_captions.json", False: "no_change_captions.json"}
_TYPES = {"material": "texture"}  # the dataset's name -> ours, if different
_FOLDERS = {True: "sc_images/CLEVR_semantic_", False: "nsc_images/CLEVR_nonsemantic_"}


class ClevrChange(Published):
    """CLEVR-Change: each scene pairs its default image with a semantic change, and with a distractor.

    Scene 123 has the examples `000123` (changed) and `000123_n` (distractor). The numbers in splits.json are scene
    numbers: in the published file they skip the same scenes as type_mapping.json.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019.

    Args:
        split: train, val or test.
        whole: As in `Published`.
        root: The folder with images/, sc_images/, nsc_images/ and the JSON files.
        pairs: Which of the two pairs of a scene to read.
    """

    name = "clevr-change"
    shows = "rendered scenes of CLEVR-Change"
    layout = """laid out as images/CLEVR_default_000000.png ..., sc_images/CLEVR_semantic_000000.png ..., \
nsc_images/CLEVR_nonsemantic_000000.png ..., change_captions.json, no_change_captions.json, splits.json, and if you \
have them type_mapping.json, change_captions_with_bbox.json and change_captions_by_IOU.json"""
    published = {"train": 67660, "val": 3976, "test": 7970}
    folders = ("images", "sc_images", "nsc_images")

    def __init__(
        self,
        split: str,
        whole: bool = True,
        *,
        root: Path,
        pairs: Literal["both", "semantic", "distractor"] = "both",
    ) -> None:
        self._which = pairs
        super().__init__(split, whole, root=root)

    def settings(self) -> tuple[str, ...]:  # noqa: D102
        return (self._which,)

    def read(self) -> Iterator[Record]:  # noqa: D102
        splits = self.json("splits.json")
        kinds = {"both": (True, False), "semantic": (True,), "distractor": (False,)}[self._which]
        # Read only what is needed: a dataset without distractors works with pairs: semantic.
        captions = {changed: self.json(_CAPTIONS[changed]) for changed in kinds}
        types = {
            name.removesuffix(".png"): _TYPES.get(kind, kind)
            for kind, names in self.json("type_mapping.json", optional=True).items()
            for name in names
        }
        boxes = self.json("change_captions_with_bbox.json", optional=True)
        file = self.root / "change_captions_by_IOU.json"  # not in the fingerprint, as in older versions
        overlaps = read_json(file, dict) if file.is_file() else {}
        for number in splits.get(self.split, ()):
            scene = f"{number:06d}"
            for changed in kinds:
                name = f"CLEVR_default_{scene}.png"
                sentences = captions[changed].get(name)
                if not sentences and self._whole:
                    where = str(self.root / _CAPTIONS[changed])
                    raise ValueError(f"{where!r} has no captions for {name!r}, which splits.json names")
                # Published overlap of the two viewpoints, 0..1: lower is harder.
                overlap = overlaps.get(str(number)) if changed else None
                yield Record(
                    scene if changed else f"{scene}_n",
                    f"images/{name}",
                    f"{_FOLDERS[changed]}{scene}.png",
                    texts(sentences or [], f"{_CAPTIONS[changed]}: {name}"),
                    f"{_CAPTIONS[changed]}: {name}",
                    changed=changed,
                    change_type=types.get(scene, "unknown") if changed else "none",
                    regions=_regions(boxes.get(str(number))) if changed else None,
                    provenance={"scene": number} | ({} if overlap is None else {"viewpoint_overlap": float(overlap)}),
                )


def _regions(boxes: Any) -> Regions | None:
    if boxes is None:
        return None
    return Regions(before=_box(boxes["bbox_before"]), after=_box(boxes["bbox_after"]))


def _box(box: Sequence[float | int] | None) -> tuple[Box, ...]:
    if box is None:
        return ()
    x, y, width, height = map(float, box)
    return ((x, y, width, height),)
