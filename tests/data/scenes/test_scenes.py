"""Procedural scenes: the same for the same index, right in words, boxes and pixels."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from idc_data.scenes import CHANGE_TYPES, Scenes, references, render, sample_pair
from idc_data.scenes.world import MATERIALS, Object, View
from idc_eval import judge


def draw(change_type, seed=0, **settings):
    world = {"min_objects": 2, "max_objects": 4, "camera_jitter": 2.0, "light_jitter": 0.1} | settings
    return sample_pair(Random(seed), change_type=change_type, **world)


def test_same_index_gives_the_same_pixels_and_words_alone_or_in_company():
    scenes = Scenes("train", seed=3)
    alone, together = scenes[17], scenes.examples([4, 17, 99])[1]
    assert alone.references == together.references
    assert alone.truth == together.truth
    np.testing.assert_array_equal(alone.before, together.before)
    np.testing.assert_array_equal(alone.after, together.after)


def test_serial_and_parallel_rendering_agree():
    pair = draw("color", max_objects=8)
    state = [(pair.before, pair.view_before), (pair.after, pair.view_after)]
    for left, right in zip(render(state, 48, parallel=True), render(state, 48, parallel=False), strict=True):
        np.testing.assert_array_equal(left, right)


def test_splits_and_seeds_differ():
    said = [Scenes(split, seed=seed)[0].references for split in ("train", "val", "test") for seed in (0, 1)]
    assert len(set(said)) == len(said)
    assert len({Scenes("val", seed=seed).fingerprint for seed in (0, 1)}) == 2


@pytest.mark.parametrize("change_type", CHANGE_TYPES)
def test_every_reference_is_different_and_right(change_type):
    for seed in range(40):
        pair = draw(change_type, seed, max_objects=8)
        said = references(pair, Random(seed), 5)
        assert len(set(said)) == 5
        for caption in said:
            assert judge(caption, pair.truth()).statement_right, (caption, pair.truth())


def test_captions_of_another_pair_are_wrong():
    wrong = 0
    for seed in range(60):
        pair, other = draw("color", seed), draw("color", seed + 1000)
        wrong += not judge(references(other, Random(seed), 5)[0], pair.truth()).statement_right
    assert wrong >= 55


@pytest.mark.parametrize("change_type", CHANGE_TYPES)
def test_states_differ_by_the_change_alone(change_type):
    for seed in range(30):
        pair = draw(change_type, seed)
        gone, come = set(pair.before) - set(pair.after), set(pair.after) - set(pair.before)
        assert (len(gone), len(come)) == {"none": (0, 0), "add": (0, 1), "drop": (1, 0)}.get(change_type, (1, 1))
        if change_type in ("color", "texture", "move"):
            (old,), (new,) = gone, come
            differing = {name for name in Object.__slots__ if getattr(old, name) != getattr(new, name)}
            assert differing == {"color": {"color"}, "texture": {"material"}, "move": {"x", "y"}}[change_type]


def test_objects_of_a_scene_differ_and_their_number_is_as_asked():
    for seed in range(100):
        for change_type in ("add", "drop", "none"):
            pair = draw(change_type, seed, min_objects=3, max_objects=5)
            for state in (pair.before, pair.after):
                assert 3 <= len(state) <= 5
                assert len({thing.look for thing in state}) == len(state)


def test_boxes_hold_the_changed_object_only():
    for example in Scenes("test", camera_jitter=0, light_jitter=0).examples(range(60)):
        if example.change_type not in ("color", "texture"):
            continue
        different = np.abs(example.before.astype(int) - example.after).max(2) > 40
        (box,) = example.regions.before
        x, y, width, height = map(int, box)
        # One pixel more on each side: an outline is smoothed, and a box is around the pixels whose middle is covered.
        inside = different[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1].sum()
        assert inside == different.sum() > 0


def test_no_jitter_and_no_change_give_equal_images():
    scenes = Scenes("val", camera_jitter=0, light_jitter=0, change_types=("none",))
    np.testing.assert_array_equal(scenes[0].before, scenes[0].after)
    jittered = Scenes("val", change_types=("none",))[0]
    assert np.abs(jittered.before.astype(int) - jittered.after).mean() > 1


def test_metal_is_unlike_rubber_at_64_pixels():
    """The same object in both materials differs by far more than light jitter changes it."""

    def look(material, shape, brightness=1.0):
        thing = Object("small", "green", material, shape, 0.0, 0.0, 0.3)
        images, shown = render([((thing,), View(brightness=brightness))], 64)
        return images[0][shown[0] == 1].astype(float)

    for shape in ("cube", "sphere", "cylinder"):
        rubber, metal = (look(material, shape) for material in MATERIALS)
        relit = look("rubber", shape, 1.1)
        assert np.abs(rubber - metal).mean() > 1.5 * np.abs(rubber - relit).mean()


def test_change_types_come_equally_often():
    counts = Counter(example.change_type for example in Scenes("val", image_size=16).examples(range(500)))
    assert set(counts) == set(CHANGE_TYPES)
    assert min(counts.values()) > 50


@pytest.mark.parametrize(
    "settings",
    [
        {"max_objects": 9},
        {"min_objects": 5},
        {"change_types": ("colour",)},
        {"change_types": ()},
        {"num_references": 3},
        {"val_pairs": 0},
        {"image_size": 8},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="scenes: .*expected"):
        Scenes("train", **settings)
    with pytest.raises(ValueError, match="split is 'dev'"):
        Scenes("dev")


def test_fixed_sets_end_and_the_stream_does_not():
    assert not Scenes("val").endless
    assert len(Scenes("val", val_pairs=7)) == 7
    with pytest.raises(IndexError):
        Scenes("val", val_pairs=7)[7]
    assert Scenes("train", train_pairs=5)[10**6].id == "train-1000000"
