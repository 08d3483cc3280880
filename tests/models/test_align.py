"""Registration of the later image onto the earlier one: drawings as rich as photos, transformations that are known."""

import sys

import cv2
import numpy as np
import pytest
from idc_data.readers import open_reader
from idc_models.serving.align import align, unlike

H, W = 300, 400


def drawing(seed):
    """A picture with lines, blobs and grain at many sizes."""
    rng = np.random.default_rng(seed)
    image = np.full((H, W, 3), rng.integers(60, 200, 3), np.uint8)
    for size in np.geomspace(80, 4, 400):
        centre = rng.integers(0, (W, H))
        polygon = (centre + rng.normal(0, size, (int(rng.integers(3, 7)), 2))).astype(np.int32)
        cv2.fillPoly(image, [polygon], rng.integers(0, 256, 3).tolist(), cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def seen_from_elsewhere(image, seed=0, strength=0.1, size=(W, H)):
    """The image by another camera."""
    rng = np.random.default_rng(seed)
    frame = np.array([[0, 0], [W, 0], [W, H], [0, H]], np.float32)
    moved = (frame + rng.uniform(-strength, strength, (4, 2)) * (W, H)).astype(np.float32)
    moved *= np.array(size, np.float32) / (W, H)
    return cv2.warpPerspective(image, cv2.getPerspectiveTransform(frame, moved), size, flags=cv2.INTER_AREA)


def difference(one, other, where=np.s_[:, :]):
    return float(np.abs(one[where].astype(float) - other[where]).mean())


@pytest.mark.parametrize("size", [(W, H), (900, 500)])
@pytest.mark.parametrize("seed", range(3))
def test_a_photo_from_elsewhere_comes_to_lie_on_the_first_one_and_what_changed_stays_to_be_seen(seed, size):
    before = drawing(seed)
    changed = before.copy()
    changed[120:180, 150:220] = (250, 20, 30)
    after = seen_from_elsewhere(changed, seed, size=size)
    aligned = align(before, np.clip(after * 1.1, 0, 255).astype(np.uint8))
    assert aligned.found and aligned.note is None and aligned.after.shape == before.shape
    rest = np.ones((H, W), bool)
    rest[110:190, 140:230] = False
    resized = cv2.resize(after, (W, H))
    assert difference(before, aligned.after, rest) < 0.4 * difference(before, resized, rest)
    assert difference(changed, aligned.after, np.s_[125:175, 155:215]) < 12, "the change is where it was"


def test_what_the_later_photo_does_not_show_is_the_earlier_ones():
    before = drawing(4)
    aligned = align(before, before[:, 120:])
    assert aligned.found and aligned.overlap == pytest.approx(1 - 120 / W, abs=0.01)
    assert np.array_equal(aligned.after[:, :115], before[:, :115])
    assert difference(before, aligned.after) < 1


def test_images_that_lie_on_each_other_stay_as_they_are():
    before = drawing(5)
    after = before.copy()
    after[50:120, 60:150] = 255 - after[50:120, 60:150]
    aligned = align(before, after)
    assert aligned.found and aligned.overlap == 1 and np.array_equal(aligned.after, after)


def test_another_scene_is_only_resized_and_says_so():
    after = seen_from_elsewhere(drawing(7), size=(600, 200))
    aligned = align(drawing(6), after)
    assert not aligned.found and aligned.note == "could not be aligned: too few points of the images match"
    assert np.array_equal(aligned.after, cv2.resize(after, (W, H), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (40, 3), (2000, 5)])
def test_images_of_any_shape_get_an_answer(shape):
    wall = np.full((*shape, 3), 127, np.uint8)
    for before, after in ((wall, drawing(8)), (drawing(8), wall), (wall, wall)):
        aligned = align(before, after)
        assert aligned.after.shape == before.shape and not aligned.found and "0 features" in aligned.note
        assert unlike(before, after) is None, "there is nothing to judge by"


def test_a_mirrored_photo_is_no_view_of_the_scene():
    before = drawing(9)
    assert not align(before, before[:, ::-1].copy()).found


def night(image):
    return (image * [0.1, 0.1, 0.3]).astype(np.uint8)


def test_only_a_pair_with_nothing_in_common_is_called_unlike():
    grey = cv2.cvtColor(drawing(10), cv2.COLOR_RGB2GRAY)
    leaves = np.stack([grey // 4, grey // 2 + 60, grey // 4], 2)
    bricks = np.stack([255 - drawing(11)[..., 0] // 2, drawing(11)[..., 1] // 3, drawing(11)[..., 2] // 5], 2)
    assert unlike(leaves, bricks) == (
        "the images share hardly any colours, lines or features: they seem to show different scenes"
    )
    elsewhere = seen_from_elsewhere(bricks, strength=0.2)
    assert unlike(bricks, elsewhere) is None
    assert unlike(bricks, night(bricks)) is None, "the lines are the same"


def test_rendered_scenes_are_never_called_unlike():
    reader = open_reader({"name": "scenes", "image_size": 96, "camera_jitter": 8, "light_jitter": 0.4}, "test")
    for example in reader.examples(range(40)):
        assert unlike(example.before, example.after) is None, example.id


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r'uv pip install "\./packages/idc-models\[align\]"'):
        align(drawing(0), drawing(0))
