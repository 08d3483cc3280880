"""Scenes of CLEVR-Change's kind: its statistics, its sentences, its jitter, pictures that wear."""

import math
from random import Random

import numpy as np
import pytest
from idc_data import open_reader
from idc_data.scenes.clevr import ClevrScenes
from idc_data.scenes.clevr.render import render
from idc_data.scenes.clevr.wear import worn
from idc_data.scenes.clevr.words import TEMPLATES, references
from idc_data.scenes.clevr.world import EYE, HALF, LAMPS, Studio, sample_pair
from idc_data.scenes.world import CHANGE_TYPES, Object
from idc_eval import judge
from idc_eval.statement import COLORS, MATERIALS, SHAPES, SIZES

ATTRIBUTES = {*SIZES, *COLORS, *MATERIALS, *SHAPES}
SETTINGS = {"min_objects": 3, "max_objects": 10, "camera_jitter": 1.0, "light_jitter": 1.0, "variation": 1.0}


def draw(change_type, seed=0, **settings):
    return sample_pair(Random(seed), change_type=change_type, **SETTINGS | settings)


def eye(view):
    level = view.distance * math.cos(view.elevation)
    return level * math.cos(view.azimuth), level * math.sin(view.azimuth), view.distance * math.sin(view.elevation)


@pytest.mark.parametrize("change_type", CHANGE_TYPES)
def test_every_reference_is_different_and_right(change_type):
    for seed in range(15):
        pair = draw(change_type, seed, max_objects=7)
        said = references(pair, Random(seed), 6, relations=0.5)
        assert len(set(said)) == 6
        for caption in said:
            assert judge(caption, pair.truth()).statement_right, (caption, pair.truth())


def test_the_share_of_relations_is_as_asked_for():
    def share(relations):
        said = [
            one for seed in range(40) for one in references(draw("drop", seed), Random(seed), 6, relations=relations)
        ]
        return sum("that is" in one for one in said) / len(said)

    assert share(0.0) == 0
    assert 0.35 < share(0.5) < 0.6


def test_complete_phrases_name_all_four_attributes():
    pair = draw("drop", 1)
    said = references(pair, Random(0), 6, relations=0.0, complete=1.0)
    assert {judge(one, pair.truth()).statement_right for one in said} == {True}
    assert all(len(ATTRIBUTES & {*one.split()}) == 4 for one in said), said


def test_objects_cameras_and_lamps_are_those_of_clevr_change():
    pairs = [draw("none", seed) for seed in range(60)]
    assert {len(pair.before) for pair in pairs} >= {3, 10}
    assert max(abs(value) for pair in pairs for thing in pair.before for value in (thing.x, thing.y)) <= 3
    for pair in pairs:
        for row, thing in enumerate(pair.before):
            for other in pair.before[:row]:
                gap = math.hypot(thing.x - other.x, thing.y - other.y) - HALF[thing.size] - HALF[other.size]
                assert gap >= 0.25
        first, second = eye(pair.view_before), eye(pair.view_after)
        assert max(abs(a - b) for a, b in zip(first, EYE, strict=True)) <= 0.5 + 1e-9
        assert 0 < max(abs(a - b) for a, b in zip(first, second, strict=True)) <= 1
        moved = np.subtract(pair.view_before.lamps, LAMPS)
        assert 0 < np.abs(moved).max() <= 1
        assert pair.view_before.power == pair.view_after.power  # materials and lamps are the same on both sides
    still = draw("none", camera_jitter=0.0, light_jitter=0.0, variation=0.0)
    assert still.view_before == still.view_after
    assert eye(still.view_before) == pytest.approx(EYE)
    assert still.view_before.lamps == LAMPS


def test_images_are_a_third_wider_than_high_and_repeat():
    scenes = open_reader({"name": "clevr-scenes", "seed": 3}, "train", image_size=24)
    alone, together = scenes[17], scenes.examples([4, 17])[1]
    assert alone.before.shape == alone.after.shape == (24, 32, 3)
    np.testing.assert_array_equal(alone.before, together.before)
    np.testing.assert_array_equal(alone.after, together.after)
    assert alone.references == together.references
    assert len({ClevrScenes("val", relations=share).fingerprint for share in (0.0, 0.5)}) == 2


def test_serial_and_parallel_rendering_agree():
    pair = draw("color")
    state = [(pair.before, pair.view_before), (pair.after, pair.view_after)]
    for left, right in zip(render(state, 32, 24, parallel=True), render(state, 32, 24, parallel=False), strict=True):
        np.testing.assert_array_equal(left, right)


def test_objects_are_where_clevrs_camera_sees_them():
    # A large ball at (0.49, -2.66), seen from (7.87, -6.80, 5.50): in a render of 160 x 120 its middle is at (49, 67).
    x, y, z = 7.8656, -6.7992, 5.5007
    far = math.sqrt(x * x + y * y + z * z)
    view = Studio(azimuth=math.atan2(y, x), elevation=math.asin(z / far), distance=far)
    _, shown = render([([Object("large", "red", "rubber", "sphere", 0.4937, -2.6633, 0.0)], view)], 160, 120)
    rows, columns = np.nonzero(shown[0] == 1)
    assert (columns.mean(), rows.mean()) == pytest.approx((49, 67), abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(26, abs=1)


def test_lamps_light_throw_shadows_and_tell_metal_from_rubber():
    def picture(*things):
        return render([(things, Studio())], 80, 60)[0][0].astype(float)

    bare = picture()
    assert bare[45:, 40:].mean() > bare[:15].mean() + 20  # the key lamp is near, on the right
    rubber, metal = (picture(Object("large", "red", kind, "sphere", 0.0, 0.0, 0.0)) for kind in ("rubber", "metal"))
    _, shown = render([([Object("large", "red", "rubber", "sphere", 0.0, 0.0, 0.0)], Studio())], 80, 60)
    ground = shown[0] == 0
    assert (bare - rubber)[ground].max() > 10
    upper = ~ground & (np.arange(60)[:, None] < 22)
    assert metal[upper].mean() < 0.8 * rubber[upper].mean()  # metal mirrors the dark room above
    assert rubber[~ground][:, 0].mean() > 1.5 * rubber[~ground][:, 1].mean()


def test_wear_changes_pixels_a_little_and_only_where_asked_for():
    image = ClevrScenes("train", image_size=48, wear=0.0)[0].before
    assert worn(image, 0.0, Random(0)) is image
    changes = [np.abs(worn(image, 1.0, Random(seed)).astype(int) - image).mean() for seed in range(12)]
    assert 0 < max(changes) < 12
    assert len({round(change, 3) for change in changes}) > 4
    assert image.dtype == worn(image, 1.0, Random(1)).dtype == np.uint8


def test_sentences_say_that_nothing_changed():
    assert set(references(draw("none"), Random(0), 10, relations=0.5)) == set(TEMPLATES["none"])


@pytest.mark.parametrize("settings", [{"max_objects": 11}, {"min_objects": 0}, {"num_references": 3}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="clevr-scenes: .*expected"):
        ClevrScenes("train", **settings)
