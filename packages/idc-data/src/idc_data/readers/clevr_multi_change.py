"""CLEVR-Multi-Change: scenes with several changes."""

from collections.abc import Iterator

from idc_data.readers.published import Published, Record, field_of, texts

_FILE = "multiple_change_caption.json"


class ClevrMultiChange(Published):
    """CLEVR-Multi-Change: several changes per scene, with a sentence for each; the sentences form one reference.

    It reads images as rendered (t1 in the name of the before image, t2 in that of the after image) and captions as
    generated. splits.json may list the records of each split, from 0; without it, the splits are the first four sixths,
    the fifth and the sixth.

    Source: Qiu, Yamamoto, Nakashima, Suzuki, Iwata, Kataoka, Satoh, Describing and Localizing Multiple Changes with
    Transformers, ICCV 2021.
    """

    name = "clevr-multi-change"
    shows = "rendered scenes of CLEVR-Multi-Change"
    layout = (
        f"{_FILE} (a list of image_id, change_captions), images/ with t1 and t2 in their names, perhaps splits.json"
    )
    published = {"train": 40000, "val": 10000, "test": 10000}
    folders = ("images",)

    def read(self) -> Iterator[Record]:  # noqa: D102
        scenes = self.json(_FILE, "change_caption.json", kind=list)
        splits = self.json("splits.json", optional=True)
        sixth = len(scenes) // 6
        parts = {
            "train": range(len(scenes) - 2 * sixth),
            "val": range(len(scenes) - 2 * sixth, len(scenes) - sixth),
            "test": range(len(scenes) - sixth, len(scenes)),
        }
        for number in splits.get(self.split, parts[self.split]):
            where = f"{_FILE}: record {number + 1}"
            image = field_of(scenes[number], "image_id", str, where)
            image = image if image.endswith(".png") else f"{image}.png"
            if "t1" not in image:
                raise ValueError(
                    f"{where}: image_id is {image!r}, expected a name with t1, which becomes t2 for the after image"
                )
            captions = field_of(scenes[number], "change_captions", list, where)
            # One list of sentences, or several lists that each describe all changes.
            versions = [captions] if all(isinstance(each, str) for each in captions) else captions
            yield Record(
                image.removesuffix(".png"),
                f"images/{image}",
                f"images/{'t2'.join(image.rsplit('t1', 1))}",
                tuple(" ".join(text.strip() for text in texts(version, where)) for version in versions),
                where,
                changed=bool(versions[0]) if versions else False,
            )
