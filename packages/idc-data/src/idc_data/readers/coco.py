"""Captions in COCO's format, as annotations or results, with images located by patterns."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from idc_data.readers.published import Published, Record, field_of, read_json


class Coco(Published):
    """Captions in COCO's format: `{"images": [{"id"}], "annotations": [{"image_id", "caption"}]}`.

    Results, a list of `{"image_id", "caption"}`, can be read too. An entry of `images` represents a pair.

    Args:
        split: train, val or test.
        whole: As in `Published`.
        root: The folder of the JSON files; images are relative to it.
        file: The JSON file; `{split}` in it is replaced.
        before: Path of the before image, in which `{id}`, `{file_name}`, `{stem}` (file_name without extension) and
            other fields of the entry in `images` are replaced.
        after: Path of the after image, likewise.
    """

    name = "coco"
    layout = (
        "a JSON file of images and annotations (or results) for each split, and images located by `before` and `after`"
    )

    def __init__(
        self,
        split: str,
        whole: bool = True,
        *,
        root: Path,
        file: str = "captions_{split}.json",
        before: str = "before/{file_name}",
        after: str = "after/{file_name}",
    ) -> None:
        self._file, self._before, self._after = file, before, after
        super().__init__(split, whole, root=root)

    def settings(self) -> tuple[Any, ...]:  # noqa: D102
        return self._file, self._before, self._after

    def read(self) -> Iterator[Record]:  # noqa: D102
        name = self._file.replace("{split}", self.split)
        path = self.annotation(name)
        content = read_json(path, list | dict) if path else {}
        annotations = content if isinstance(content, list) else field_of(content, "annotations", list, name)
        images = {} if isinstance(content, list) else {_id(each, "id", name): each for each in content["images"]}
        sentences = dict[str, list[str]]({image: [] for image in images})
        for number, each in enumerate(annotations, start=1):
            where = f"{name}: annotation {number}"
            image = _id(each, "image_id", where)
            if images and image not in images:
                raise ValueError(f"{where}: image_id is {image!r}, expected an id in images")
            sentences.setdefault(image, []).append(field_of(each, "caption", str, where))
        for image, captions in sentences.items():
            entry = {"file_name": f"{image.removesuffix('.png')}.png", **images.get(image, {}), "id": image}
            entry["stem"] = PurePosixPath(str(entry["file_name"])).stem
            before, after = (_filled(pattern, entry, name) for pattern in (self._before, self._after))
            yield Record(image.removesuffix(".png"), before, after, tuple(captions), f"{name}: image {image}")


def _filled(pattern: str, entry: dict[str, Any], where: str) -> str:
    for key, value in entry.items():
        pattern = pattern.replace("{" + key + "}", str(value))
    if "{" in pattern:
        raise ValueError(f"{where}: {pattern!r} has a field that images lack; expected some of {', '.join(entry)}")
    return pattern


def _id(each: Any, name: str, where: str) -> str:
    return str(field_of(each, name, str | int, where))
