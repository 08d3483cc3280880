"""Stage 6, split and publish: the kept pairs as a dataset whose splits share no image, with a data card."""

import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from idc_data.example import SPLITS, ChangeExample
from idc_data.generate.stage import Rows
from idc_data.images import load_image
from idc_data.layout import write_layout
from idc_data.rows import METADATA


def split_pairs(pairs: Rows, *, val: float, test: float, seed: int) -> dict[str, str]:
    """Assign every pair to a split, so that no image is in two.

    Pairs that are connected by shared images stay together. The groups are taken in the order of a hash: each goes to
    the test set if it fits into what is left of its share, else to the validation set, else to training.

    Args:
        pairs: Rows with `pair`, `before` and `after`.
        val: Share of the pairs for validation.
        test: Share of the pairs for the test.
        seed: Of the hash.
    """
    leader = {row[side]: row[side] for row in pairs for side in ("before", "after")}

    def find(image: str) -> str:
        while leader[image] != image:
            leader[image] = leader[leader[image]]
            image = leader[image]
        return image

    for row in pairs:
        first, second = sorted((find(row["before"]), find(row["after"])))
        leader[second] = first
    groups: dict[str, list[str]] = {}
    for row in pairs:
        groups.setdefault(find(row["before"]), []).append(row["pair"])
    room = {"test": test * len(pairs), "val": val * len(pairs)}
    splits: dict[str, str] = {}
    for _, group in sorted(groups.items(), key=lambda item: sha256(f"{seed}/{item[0]}".encode()).digest()):
        split = next((split for split in ("test", "val") if len(group) <= room[split]), "train")
        if split in room:
            room[split] -= len(group)
        splits.update(dict.fromkeys(group, split))
    return splits


def publish(out: Path, root: Path, rows: Rows, splits: dict[str, str], image_size: int | None) -> dict[str, int]:
    """Write the dataset in the project's own layout.

    Args:
        out: The folder of the dataset.
        root: The folder of the images.
        rows: The kept pairs: `pair`, `references`, `change_type`, and for each side `path` and `caption`.
        splits: The split of each pair.
        image_size: Width and height that images are scaled and cropped to, in pixels; None: as they are.

    Returns:
        The number of pairs in each split.
    """

    def examples() -> Iterator[ChangeExample]:
        for row in rows:
            yield ChangeExample(
                id=row["pair"],
                before=_sized(root / row["before_path"], image_size),
                after=_sized(root / row["after_path"], image_size),
                references=tuple(row["references"]),
                changed=row["change_type"] != "none",
                change_type=row["change_type"],
                split=splits[row["pair"]],
                provenance={
                    name: row[name]
                    for name in ("before_path", "after_path", "before_caption", "after_caption", "similarity")
                },
            )

    counts = write_layout(out, examples(), overwrite=True)
    for split in SPLITS:
        if split not in counts and (out / split / METADATA).is_file():  # of an earlier generation
            shutil.rmtree(out / split)
    return counts


def _sized(path: Path, size: int | None) -> np.ndarray:
    image = load_image(path)
    return image if size is None else np.asarray(ImageOps.fit(Image.fromarray(image), (size, size)))
