"""CLEVR-DC in the layout of its authors, and in that of later methods."""

from collections.abc import Iterator

from idc_data.readers.published import Published, Record, texts

_TYPES = ("color", "texture", "add", "drop", "move", "none")
_EACH = 8000  # pairs per type, in this order


class ClevrDC(Published):
    """CLEVR-DC: CLEVR scenes from very different viewpoints, 8,000 consecutive pairs for each change type.

    Supported are bef/ and aft/ with captions.json and split.json, and images/ and sc_images/ with change_captions.json
    and splits.json, where files are named 000007.png instead of 7.png.

    Source: Kim, Kim, Lee, Park, Kim, Agnostic Change Captioning with Cycle Consistency, ICCV 2021.
    """

    name = "clevr-dc"
    shows = "rendered scenes of CLEVR-DC"
    layout = (
        "bef/0.png, aft/0.png, captions.json and split.json (or images/, sc_images/, change_captions.json, splits.json)"
    )
    published = {"train": 40800, "val": 2400, "test": 4800}
    folders = ("bef", "aft", "images", "sc_images")

    def read(self) -> Iterator[Record]:  # noqa: D102
        splits = self.json("split.json", "splits.json")
        captions = self.json("captions.json", "change_captions.json")
        renamed = (self.root / "images").is_dir()
        before, after = self.folders[2:] if renamed else self.folders[:2]
        by_number = {_number(name): sentences for name, sentences in captions.items()}
        for scene in splits.get(self.split, ()):
            number = int(scene)
            where = f"captions of {number}"
            file = f"{number:06d}.png" if renamed else f"{number}.png"
            kind = _TYPES[min(number // _EACH, len(_TYPES) - 1)]
            yield Record(
                f"{number:06d}",
                f"{before}/{file}",
                f"{after}/{file}",
                texts(by_number.get(number, []), where),
                where,
                changed=kind != "none",
                change_type=kind,
            )


def _number(name: str) -> int:
    digits = name.removesuffix(".png").rpartition("_")[2]
    if not digits.isdigit():
        raise ValueError(f"a key of the captions is {name!r}, expected a scene number, such as '7' or '000007.png'")
    return int(digits)
