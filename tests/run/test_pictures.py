import numpy as np
import pytest
from idc_data import ChangeExample
from idc_eval.prediction import Prediction
from idc_models.serving.inference import Caption
from PIL import Image

from idc_run.serving.overlay import draw_overlay
from idc_run.tracking.pictures import keep_images, sample_pairs

CAPTIONS = ["左侧的停车场移动了，" * 5, "красный шар исчез", "كرة حمراء", "from $5_a to $6^2", "", "लाल गेंद 🐱"]
GREY = np.full((32, 32, 3), 90, np.uint8)


class Pairs(list[ChangeExample]):
    endless = False
    fingerprint = "0123456789abcdef"


def test_sample_pairs_are_drawn_in_any_script_without_warnings(tmp_path):
    examples = [
        ChangeExample(str(row), GREY, GREY, (caption or "none",), True, "move", "test", provenance={})
        for row, caption in enumerate(CAPTIONS)
    ]
    said = [Prediction(id=each.id, hypothesis=caption, references=list(each.references))
            for each, caption in zip(examples, CAPTIONS, strict=True)]  # fmt: skip
    kept = keep_images(tmp_path, Pairs(examples), said, range(len(said)))
    sample_pairs(tmp_path / "a.png", tmp_path, kept, [1, 0, None, 1, 0, None])
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("shape", [(32, 32), (3, 400), (400, 3)])
def test_the_whole_caption_stands_below_images_of_any_shape(tmp_path, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    heights = []
    for caption in ("a", "red " * 40, "x" * 150, "左侧的停车场移动了，" * 15):
        draw_overlay(tmp_path / "a.png", image, image, Caption(caption, -1.0, note="unlike the others " * 9))
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.width >= 320
            assert np.asarray(picture)[:, -4:].min() == 255  # nothing runs over the edge
            heights.append(picture.height)
    assert heights[0] < min(heights[1:3])


def test_kept_images_of_16_bits_are_scaled_alike(tmp_path):
    before = np.full((64, 64), 1000, np.uint16)
    after = before.copy()
    after[:8, :8] = 5000
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, values in zip(files, (before, after), strict=True):
        Image.fromarray(values).save(file)
    reader = Pairs([ChangeExample("0", *files, ("a light",), True, "add", "test")])
    (kept,) = keep_images(tmp_path, reader, [Prediction(id="0", hypothesis="", references=["a light"])], [0])
    first, second = (np.asarray(Image.open(tmp_path / str(name))) for name in (kept.before, kept.after))
    assert (first[32:] == second[32:]).all() and second.max() > first.max()
