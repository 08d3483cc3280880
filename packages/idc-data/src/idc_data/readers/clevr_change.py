"""CLEVR-Change in the layout that its authors published."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from idc_data.example import Box, ChangeExample, Regions
from idc_data.fingerprint import fingerprint

_LAYOUT = """images/CLEVR_default_000000.png ..., sc_images/CLEVR_semantic_000000.png ..., \
nsc_images/CLEVR_nonsemantic_000000.png ..., change_captions.json, no_change_captions.json, splits.json, and if you \
have them type_mapping.json, change_captions_with_bbox.json and change_captions_by_IOU.json"""
_CAPTIONS = {True: "change_captions.json", False: "no_change_captions.json"}
_FACTS = ("type_mapping.json", "change_captions_with_bbox.json")
_TYPES = {"material": "texture"}  # the dataset's word -> ours; the others are the same


class ClevrChange(Sequence[ChangeExample]):
    """CLEVR-Change: each scene pairs its default image with a semantic change, and with a distractor.

    Scene 123 gives the examples `000123` (changed) and `000123_n` (distractor). The numbers in splits.json are taken
    as scene numbers: so they are in the published file, where they skip scenes just as type_mapping.json does.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019.

    Args:
        split: train, val or test.
        root: The folder that holds images/, sc_images/, nsc_images/ and the JSON files.
        pairs: Which of the two pairs of a scene to read.

    Raises:
        ValueError: A JSON file is not as published, or a scene has no captions.
        OSError: A file is missing.
    """

    endless = False
    shows = "rendered scenes of CLEVR-Change"

    def __init__(self, split: str, *, root: Path, pairs: Literal["both", "semantic", "distractor"] = "both") -> None:
        self.split = split
        self._root = Path(root)
        splits = self._read("splits.json")
        if split not in splits:
            raise ValueError(f"split is {split!r}, expected one of {', '.join(splits)} as in {self._root}/splits.json")
        kinds = {"both": (True, False), "semantic": (True,), "distractor": (False,)}[pairs]
        # By `changed`: a dataset without distractors may be read with pairs: semantic.
        self._captions: dict[bool, dict[str, list[str]]] = {
            changed: self._read(_CAPTIONS[changed]) for changed in kinds
        }
        self._types = {
            name.removesuffix(".png"): _TYPES.get(kind, kind)
            for kind, names in self._read(_FACTS[0], optional=True).items()
            for name in names
        }
        self._boxes = self._read(_FACTS[1], optional=True)
        self._overlaps = self._read("change_captions_by_IOU.json", optional=True)
        self._pairs = [(f"{scene:06d}", changed) for scene in splits[split] for changed in kinds]
        self._check()
        annotations = ["splits.json", *(_CAPTIONS[changed] for changed in kinds), *_FACTS]
        self.fingerprint = fingerprint(
            ["clevr-change", split, pairs],
            annotations=[path for name in annotations if (path := self._root / name).exists()],
            images=[image for scene, changed in self._pairs for image in self._images(scene, changed)],
        )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        scene, changed = self._pairs[index]
        before, after = self._images(scene, changed)
        return ChangeExample(
            id=scene if changed else f"{scene}_n",
            before=before,
            after=after,
            references=tuple(self._captions[changed][before.name]),
            changed=changed,
            change_type=self._types.get(scene, "unknown") if changed else "none",
            split=self.split,
            regions=self._regions(scene) if changed else None,
            provenance={"dataset": "clevr-change", "scene": int(scene), **self._overlap(scene, changed)},
        )

    def _images(self, scene: str, changed: bool) -> tuple[Path, Path]:
        after = f"sc_images/CLEVR_semantic_{scene}.png" if changed else f"nsc_images/CLEVR_nonsemantic_{scene}.png"
        return self._root / "images" / f"CLEVR_default_{scene}.png", self._root / after

    def _overlap(self, scene: str, changed: bool) -> dict[str, float]:
        """How much the two viewpoints have in common, 0..1 as published: the less, the harder."""
        overlap = self._overlaps.get(str(int(scene))) if changed else None
        return {} if overlap is None else {"viewpoint_overlap": float(overlap)}

    def _regions(self, scene: str) -> Regions | None:
        boxes = self._boxes.get(str(int(scene)))
        if boxes is None:
            return None
        return Regions(before=_box(boxes["bbox_before"]), after=_box(boxes["bbox_after"]))

    def _read(self, name: str, *, optional: bool = False) -> dict[str, Any]:
        path = self._root / name
        if optional and not path.exists():
            return {}
        if not path.is_file():
            raise FileNotFoundError(f"there is no {str(path)!r}; CLEVR-Change is laid out as {_LAYOUT}")
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{str(path)!r} holds a {type(content).__name__}, expected a JSON object as published")
        return content

    def _check(self) -> None:
        for scene, changed in self._pairs:
            for image in self._images(scene, changed):
                if not image.is_file():
                    raise FileNotFoundError(f"there is no {str(image)!r}; CLEVR-Change is laid out as {_LAYOUT}")
            name = self._images(scene, changed)[0].name
            if not self._captions[changed].get(name):
                captions = self._root / _CAPTIONS[changed]
                raise ValueError(f"{str(captions)!r} has no captions for {name!r}, which splits.json names")


def _box(box: Sequence[float | int] | None) -> tuple[Box, ...]:
    if box is None:
        return ()
    x, y, width, height = map(float, box)
    return ((x, y, width, height),)
