"""Edited images with the instruction for the edit: the layouts of MagicBrush and InstructPix2Pix."""

import json
from collections.abc import Iterator
from pathlib import Path

from idc_data.readers.published import Published, Record, field_of
from idc_data.text import read_text

_MAGIC = {"train": ("train",), "val": ("dev", "val"), "test": ("test",)}
_PARTS = {"train": (0.0, 0.9), "val": (0.9, 0.95), "test": (0.95, 1.0)}  # as in InstructPix2Pix's own loader


class Edits(Published):
    """Images before and after an edit. The instruction is the reference, and every pair is changed.

    Two layouts are supported. MagicBrush: `train/edit_turns.json` (dev and test likewise), a list of `input`, `output`
    and `instruction`, with images in `train/images/<number>/`. InstructPix2Pix: `seeds.json`, a list of folders and
    seeds, with `<folder>/prompt.json` (field `edit`) and `<folder>/<seed>_0.jpg`, `<seed>_1.jpg`; its splits are the
    first 90 % of the list, the next 5 % and the last 5 %.

    Source: Zhang, Mo, Chen, Sun, Su, MagicBrush, NeurIPS 2023; Brooks, Holynski, Efros, InstructPix2Pix, CVPR 2023.
    """

    name = "edits"
    shows = "images and edits of them"
    observed = False
    layout = (
        "train/edit_turns.json and train/images/ (MagicBrush), or seeds.json and a folder an edit (InstructPix2Pix)"
    )

    def read(self) -> Iterator[Record]:  # noqa: D102
        if (self.root / "seeds.json").is_file():
            yield from self._seeds()
            return
        part = next((name for name in _MAGIC[self.split] if (self.root / name).is_dir()), _MAGIC[self.split][0])
        file = f"{part}/edit_turns.json"
        for number, turn in enumerate(self.json(file, kind=list), start=1):
            where = f"{file}: record {number}"
            names = [field_of(turn, side, str, where) for side in ("input", "output")]
            # Later turns edit the result of earlier ones; the images of all turns are in the folder of the first.
            before, after = (f"{part}/images/{name.split('-')[0]}/{name}" for name in names)
            yield Record(
                Path(names[1]).stem,
                before,
                after,
                (field_of(turn, "instruction", str, where),),
                where,
                changed=True,
                change_type="edit",
            )

    def _seeds(self) -> Iterator[Record]:
        folders = self.json("seeds.json", kind=list)
        begin, end = (int(part * len(folders)) for part in _PARTS[self.split])
        for number, (folder, seeds) in enumerate(folders[begin:end], start=begin + 1):
            where = f"seeds.json: record {number}"
            prompt = self.annotation(f"{folder}/prompt.json")
            content = json.loads(read_text(prompt)) if prompt else {"edit": ""}
            for seed in seeds:
                yield Record(
                    f"{folder}-{seed}".replace("/", "-"),
                    f"{folder}/{seed}_0.jpg",
                    f"{folder}/{seed}_1.jpg",
                    (field_of(content, "edit", str, where),),
                    where,
                    changed=True,
                    change_type="edit",
                )
