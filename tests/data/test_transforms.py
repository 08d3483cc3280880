from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from idc_data import Regions
from idc_data.transforms import PairedTransform


def red_box(image):
    """x, y, width, height of what is red in uint8 3 h w."""
    red = (image[0].int() - image[1].int()) > 60
    rows, columns = red.any(1).nonzero(), red.any(0).nonzero()
    left, top = int(columns.min()), int(rows.min())
    return left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    flip=st.booleans(),
    crop=st.sampled_from([0.0, 0.3, 0.8]),
    jitter=st.sampled_from([0.0, 0.2]),
)
def test_boxes_stay_on_their_objects(pair, seed, flip, crop, jitter):
    transform = PairedTransform(64, flip=flip, crop=crop, color_jitter=jitter)
    before, after, regions = transform(pair, Random(seed))
    for image, (box,) in ((before, regions.before), (after, regions.after)):
        assert image.shape == (3, 64, 64) and image.dtype == torch.uint8
        assert red_box(image) == pytest.approx(box, abs=2.5)
        assert min(box[:2]) >= -1e-6 and box[0] + box[2] <= 64 + 1e-6 and box[1] + box[3] <= 64 + 1e-6


@pytest.fixture(scope="module")
def pair():
    from idc_data import ChangeExample

    def image(x, y, width, height, *, scale):
        pixels = np.full((60 * scale, 80 * scale, 3), 90, np.uint8)
        pixels[y * scale : (y + height) * scale, x * scale : (x + width) * scale] = (220, 20, 20)
        return pixels

    return ChangeExample(
        id="0",
        before=image(10, 12, 20, 15, scale=1),
        after=image(45, 30, 20, 15, scale=2),  # the after image is twice as large
        references=("the square moved",),
        changed=True,
        change_type="move",
        regions=Regions(before=((10.0, 12.0, 20.0, 15.0),), after=((90.0, 60.0, 40.0, 30.0),)),
    )


def test_nothing_is_done_where_nothing_is_asked(make_example):
    example = make_example(0, before=np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    before, _, regions = PairedTransform(16)(example, Random(0))
    assert np.array_equal(before.permute(1, 2, 0).numpy(), example.before)
    assert before.is_contiguous()
    assert regions.before == example.regions.before


def test_resizing_keeps_the_borders(make_scene, make_example):
    example = make_example(0, before=make_scene([(0, 0, 32, 2)]), after=make_scene([(30, 0, 2, 24)]))
    before, after, _ = PairedTransform(12)(example, Random(0))
    assert (before[0, 0] > 150).all() and (after[0, :, -1] > 130).all()


def test_the_same_seed_gives_the_same_pair(pair):
    transform = PairedTransform(32, flip=True, crop=0.5, color_jitter=0.3)
    once, again, other = (transform(pair, Random(seed)) for seed in (1, 1, 2))
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1]) and once[2] == again[2]
    assert not torch.equal(once[0], other[0])


def test_light_differs_from_side_to_side_but_not_hue(pair):
    pair = replace(pair, after=pair.before, regions=None)
    before, after, _ = PairedTransform(64, color_jitter=0.4)(pair, Random(3))
    assert not torch.equal(before, after)
    assert (before[1] == before[2]).all()  # grey stays grey, and red has equal parts of green and blue


@pytest.mark.parametrize("words", ["the ball Left of the cube moved", "the rightmost one", "on the right-hand side"])
def test_flip_is_refused_where_captions_speak_of_sides(pair, words):
    pair = replace(pair, references=("something moved", words))
    with pytest.raises(ValueError, match="flip.*'0'.*data.flip=safe"):
        PairedTransform(32, flip=True)(pair, Random(0))
    PairedTransform(32)(pair, Random(0))
    PairedTransform(32, flip="safe")(pair, Random(0))


@pytest.mark.parametrize("wrong", [{"crop": 1.0}, {"crop": -0.1}, {"color_jitter": 1.5}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        PairedTransform(32, **wrong)
