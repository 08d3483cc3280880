"""Features in a folder with one `.npy` file per image, the format of published repositories."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from idc_data.example import Reader
from idc_data.feature_file import WithFeatures
from idc_data.wording import counted

_DEEPEST = 4
"""Maximum number of parent folders of an image that are repeated in the folder of features."""

_Rule = tuple[int, bool, bool]
"""Number of parent folders to keep; whether `images` in them becomes `features`; whether to keep the extension."""


def with_feature_folder(readers: Sequence[Reader], folder: Path) -> list[WithFeatures]:
    """Return splits whose pairs include the features of their images, which are read when a pair is loaded.

    The path of an image determines the path of its features: for `data/sc_images/7.png`, it is `sc_images/7.npy` or
    `sc_images/7.png.npy` in the folder, or the same with `sc_features` instead of `sc_images`, as for CLEVR-Change, or
    `7.npy` directly in the folder. The first of these that exists for one image must exist for all.

    Args:
        readers: Splits of one dataset.
        folder: The folder of the `.npy` files.

    Raises:
        ValueError: The dataset renders its images or does not store them as files, an image has no features, or two
            images would have the same file.
    """
    images: dict[Path, int] = {}
    rows = [_rows(reader, images) for reader in readers]
    files = [_place(image, folder, rule) for rule in [_rule(images, folder)] for image in images]
    owners: dict[Path, Path] = {}
    for image, file in zip(images, files, strict=True):
        if owners.setdefault(file, image) != image:
            raise ValueError(
                f"the images {str(owners[file])!r} and {str(image)!r} would have the same features, {str(file)!r}: "
                "put the files into folders with the same names as those of the images"
            )
    if missing := [number for number, file in enumerate(files) if not file.is_file()]:
        image, file = list(images)[missing[0]], files[missing[0]]
        raise ValueError(
            f"there are no features for {len(missing):,} of {counted(len(images), 'image')}, such as {str(image)!r}; "
            f"expected a file {str(file)!r}: compute them first"
        )
    return [WithFeatures(reader, files, places) for reader, places in zip(readers, rows, strict=True)]


def _rows(reader: Reader, images: dict[Path, int]) -> np.ndarray:
    """Return the numbers of the images of a split, int64 `pairs 2`; new images are added to `images`."""
    if reader.endless:
        raise ValueError(
            "data.features names a folder, but this dataset renders new images in each epoch: write its pairs to a "
            "folder first (`idc-data scenes FOLDER`), or remove data.features"
        )
    rows = []
    for index in range(len(reader)):
        example = reader[index]
        sides = [side for side in (example.before, example.after) if isinstance(side, Path)]
        if len(sides) < 2:
            raise ValueError(
                f"data.features names a folder, whose files are found by the names of images, but the images of pair "
                f"{example.id!r} are not files: remove data.features"
            )
        rows.append([images.setdefault(side, len(images)) for side in sides])
    return np.array(rows, dtype=np.int64)


def _rule(images: Iterable[Path], folder: Path) -> _Rule:
    """Find the rule for the paths of features, by the first image that has features."""
    if not folder.is_dir():
        raise ValueError(f"data.features.folder is {str(folder)!r}, but there is no such folder")
    for image in images:
        for rule in _rules(image):
            if _place(image, folder, rule).is_file():
                return rule
    image = next(iter(images))
    tried = dict.fromkeys(str(_place(image, folder, rule).relative_to(folder)) for rule in _rules(image))
    raise ValueError(
        f"no image has features in {str(folder)!r}; for {str(image)!r} expected one of "
        f"{', '.join(map(repr, list(tried)[-6:]))}"
    )


def _rules(image: Path) -> Iterator[_Rule]:
    depths = range(min(_DEEPEST, len(image.parent.parts)), -1, -1)
    return product(depths, (False, True), (False, True))


def _place(image: Path, folder: Path, rule: _Rule) -> Path:
    depth, renamed, ending = rule
    parents = image.parent.parts[len(image.parent.parts) - depth :]
    if renamed:
        parents = [part.replace("images", "features") for part in parents]
    return folder.joinpath(*(part.strip("/\\") for part in parents), f"{image.name if ending else image.stem}.npy")
