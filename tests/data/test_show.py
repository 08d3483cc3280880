import numpy as np
import pytest
from idc_data.show import contact_sheet
from PIL import Image


def test_boxes_are_drawn_and_small_images_enlarged(make_example):
    sheet = np.asarray(contact_sheet([make_example(0)]))
    marked = (sheet == (255, 61, 0)).all(-1)
    left, right = np.split(marked, 2, axis=1)
    assert left.any() and right.any()
    plain = np.asarray(contact_sheet([make_example(0, regions=None)]))
    assert sheet.shape == plain.shape and not (plain == (255, 61, 0)).all(-1).any()


def test_any_number_size_and_length(make_example, make_scene):
    big, tiny = make_scene([], size=(900, 1400)), make_scene([], size=(3, 1))
    examples = [make_example(0, before=big, after=tiny, id="long " * 99, references=("word " * 300, "x" * 900, "c"))]
    one = contact_sheet(examples)
    many = contact_sheet(examples + [make_example(n) for n in range(1, 8)])
    assert many.width == pytest.approx(3 * one.width, rel=0.05) and many.height > 2 * one.height
    with pytest.raises(ValueError, match="no pairs"):
        contact_sheet([])


def test_images_of_16_bits_are_scaled_alike(make_example, tmp_path):
    before = np.full((64, 64), 1000, np.uint16)
    after = before.copy()
    after[:8, :8] = 5000
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, values in zip(files, (before, after), strict=True):
        Image.fromarray(values).save(file)
    sheet = np.asarray(contact_sheet([make_example(0, before=files[0], after=files[1], regions=None)]))
    assert (sheet == 16).all(-1).sum() > 256 * 256, "what is equal in both looks equal"
