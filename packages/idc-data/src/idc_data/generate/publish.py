"""Stage 6, split and publish: the kept pairs as a dataset whose splits share no image, with a data card."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from idc_data.example import ChangeExample, load_image
from idc_data.generate.stage import Rows, write_whole
from idc_data.layout import write_layout

_SAMPLES = 10


def split_pairs(pairs: Rows, *, val: float, test: float, seed: int) -> dict[str, str]:
    """Give every pair a split, so that no image is in two.

    Pairs that hang together by shared images go together, in an order that a hash decides: to the test set until it has
    its part of the pairs, then to the validation set, then to training. The largest groups go to training at once.

    Args:
        pairs: Rows with `pair`, `before` and `after`.
        val: Part of the pairs for validation.
        test: Part of the pairs for the test.
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

    return write_layout(out, examples(), overwrite=True)


def _sized(path: Path, size: int | None) -> np.ndarray:
    image = load_image(path)
    return image if size is None else np.asarray(ImageOps.fit(Image.fromarray(image), (size, size)))


def data_card(out: Path, name: str, settings: dict[str, Any], provenance: list[dict[str, Any]], rows: Rows) -> None:
    """Write README.md: what is in the dataset, how it was made, what each stage yielded, and samples.

    Args:
        out: The folder of the dataset.
        name: Of the dataset.
        settings: The completed spec.
        provenance: Of every stage, in order.
        rows: The kept pairs.
    """
    lines = [
        f"# {name}",
        "",
        f"{len(rows):,} pairs of images with captions of their difference, made by `idc-data generate`.",
    ]
    lines += ["", "| stage | how | rows | notes |", "|---|---|---|---|"]
    for stage in provenance:
        notes = {key: value for key, value in stage.items() if key not in _NOT_NOTES}
        shown = "; ".join(f"{key}: {_short(value)}" for key, value in notes.items())
        part = settings[stage["stage"]]
        lines.append(f"| {stage['stage']} | {_how(part)} | {stage['rows']:,} | {shown} |")
    lines += ["", "## Samples", "", "| before | after | difference |", "|---|---|---|"]
    for row in sorted(rows, key=lambda row: sha256(row["pair"].encode()).digest())[:_SAMPLES]:
        lines.append(
            "| " + " | ".join(map(_cell, (row["before_caption"], row["after_caption"], row["references"][0]))) + " |"
        )
    lines += ["", "The images keep the licences of their sources. Captions were not checked by people.", ""]
    write_whole(out / "README.md", "\n".join(lines).encode())


_NOT_NOTES = ("stage", "identity", "made_from", "rows", "seconds", "reused")


def _how(part: dict[str, Any]) -> str:
    return _cell(", ".join(f"{key} {value}" if key != "name" else f"`{value}`" for key, value in part.items()))


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items())
    return len(value) if isinstance(value, list) else f"{value:,}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
