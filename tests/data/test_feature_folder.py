"""Features that others have computed: a `.npy` file for each image, found by the image's path."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from idc_data.feature_folder import with_feature_folder
from idc_data.features import load_features
from idc_data.layout import Folder, write_layout
from idc_data.spec import DataSpec
from pydantic import ValidationError


class Images:
    """A reader of pairs of image files."""

    endless, fingerprint = False, "0"

    def __init__(self, make_example, *pairs):
        self._pairs = [
            replace(make_example(number), before=Path(before), after=Path(after))
            for number, (before, after) in enumerate(pairs)
        ]

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, index):
        return self._pairs[index]


@pytest.fixture
def images(make_example):
    """The default, changed and distractor image of a scene, as CLEVR-Change has them, in two pairs."""
    first, changed, same = (f"data/{folder}/{name}_000007.png" for folder, name in NAMES.items())
    return Images(make_example, (first, changed), (first, same))


NAMES = {"images": "CLEVR_default", "sc_images": "CLEVR_semantic", "nsc_images": "CLEVR_nonsemantic"}


def put(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.full((4, 2, 3), value, np.float32))
    return path


@pytest.mark.parametrize(
    "form",
    ["{features}/{name}_000007.png.npy", "{images}/{name}_000007.npy", "data/{images}/{name}_000007.png.npy",
     "{name}_000007.npy"],
    ids=["as DUDA stores them", "in folders of the same names", "below all folders", "in one folder"],
)  # fmt: skip
def test_the_features_of_an_image_are_found_by_its_path(images, tmp_path, form):
    for value, (folder, name) in enumerate(NAMES.items()):
        put(tmp_path, form.format(images=folder, features=folder.replace("images", "features"), name=name), value)
    (split,) = with_feature_folder([images], tmp_path)
    assert len(split) == 2 and split.fingerprint == images.fingerprint
    for example, (before, after) in zip([split[0], *split.examples([1])], [(0, 1), (0, 2)], strict=True):
        first, second = load_features(example)
        assert first.shape == (4, 2, 3) and (first == before).all() and (second == after).all()
        assert replace(example, inputs=None) in list(images)


def test_a_missing_file_is_named(images, tmp_path):
    kept, gone, _ = (put(tmp_path, f"{folder}/{name}_000007.npy", 0) for folder, name in NAMES.items())
    gone.unlink()
    with pytest.raises(
        ValueError, match=r"1 of 3 images, such as '.*semantic_.*; expected a file '.*sc_images/.*7\.npy'"
    ):
        with_feature_folder([images], tmp_path)
    kept.unlink()
    shutil.rmtree(tmp_path / "nsc_images")
    with pytest.raises(ValueError, match=r"no image has features in .*'images/CLEVR_default_000007\.npy'") as error:
        with_feature_folder([images], tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"data\.features\.folder is '.*nowhere', but there is no such folder"):
        with_feature_folder([images], tmp_path / "nowhere")


def test_two_images_of_one_name_need_folders(make_example, tmp_path):
    train, val = (Images(make_example, (f"{split}/0.png", f"{split}/1.png")) for split in ("train", "val"))
    put(tmp_path, "0.npy", 0)
    put(tmp_path, "1.npy", 0)
    with pytest.raises(ValueError, match=r"'train/0\.png' and 'val/0\.png' would have the same features"):
        with_feature_folder([train, val], tmp_path)


def test_our_layout_has_features_beside_it(make_example, tmp_path):
    write_layout(tmp_path / "pairs", [make_example(0), make_example(1)])
    pairs = Folder("train", root=tmp_path / "pairs")
    for number, image in enumerate(sorted((tmp_path / "pairs").rglob("*.png"))):
        put(tmp_path / "features", image.relative_to(tmp_path / "pairs").with_suffix(".npy"), number)
    (split,) = with_feature_folder([pairs], tmp_path / "features")
    after, before = (float(side.mean()) for side in reversed(load_features(split[1])))
    assert {before, after} == {2.0, 3.0}


def test_a_dataset_without_image_files_is_refused(squares):
    with pytest.raises(ValueError, match="'train-0' are not files"):
        with_feature_folder([squares()], Path())
    endless = squares()
    endless.endless = True
    with pytest.raises(ValueError, match="renders new images"):
        with_feature_folder([endless], Path())


def test_the_setting_is_cache_or_a_folder():
    spec = DataSpec(features={"folder": "some/where"})
    assert DataSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert spec.model_dump(mode="json")["features"] == {"folder": "some/where"}
    for wrong in ("chache", {"folders": "x"}, {"folder": 3}, 1, True):
        with pytest.raises(ValidationError, match="expected cache, or {folder: PATH}"):
            DataSpec(features=wrong)
    with pytest.raises(ValidationError, match=r"features is {'folder': 'x'} and crop is 0\.1"):
        DataSpec(features={"folder": "x"}, crop=0.1)
