"""Published datasets in miniature, made by hand: each lies as its authors published it."""

import json
from itertools import count

import numpy as np
import pytest
from PIL import Image

NO_CHANGE = "no change has occurred"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


@pytest.fixture
def put(root):
    """Write a file below the root: an image, of a colour of its own, or text, or JSON."""
    colours = count(1)

    def write(name, content=None):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg", ".tif") and content is None:
            number = next(colours)
            grid = np.random.default_rng(number).integers(0, 255, (16, 20, 3), np.uint8)
            Image.fromarray(grid).save(path)
        elif isinstance(content, np.ndarray):
            Image.fromarray(content).save(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def spot(put):
    """Three pairs of train in five records: 7 comes twice, 9 has blank sentences only; one of val and of test."""
    records = [
        ("7", ["the car is gone", " "]),
        ("8", ["there are no differences"]),
        ("7", ["the car is gone", "a man left "]),
        ("9", ["", "  "]),
    ]
    put("annotations/train.json", [{"img_id": name, "sentences": sentences} for name, sentences in records])
    put("annotations/val.json", [{"img_id": "20", "sentences": ["two people appeared"]}])
    put("annotations/test.json", [{"img_id": "30", "sentences": ["a truck turned"]}])
    for name in ("7", "8", "9", "20", "30"):
        put(f"resized_images/{name}.png")
        put(f"resized_images/{name}_2.png")


@pytest.fixture
def requests(put):
    """A pair of train in two rows with one name of their own each; one pair in both valid and test."""

    def row(before, after, uid, *sentences):
        return {"img0": before, "img1": after, "sents": sentences, "uid": uid}

    put("train.json", [row("a.jpg", "b.jpg", "Z_1", "make it darker"), row("a.jpg", "b.jpg", "Z_2", "darken it")])
    put("valid.json", [row("c.jpg", "d.jpg", "R_1", "no change of the sky", "remove the car", "remove it")])
    put("test.json", [row("c.jpg", "d.jpg", "R_9", "erase the car"), row("e.jpg", "f.jpg", "R_3", "add a hat")])
    for name in "abcdef":
        put(f"images/{name}.jpg")


@pytest.fixture
def levir(put):
    """Two pairs a split, changed and not, each with five sentences; a form of the file is to be written."""

    def write(form="karpathy", masks=False):
        sentences = {"1": ["a house was built"] * 3 + [NO_CHANGE] * 2, "2": [NO_CHANGE] * 5}
        images = []
        for split in ("train", "val", "test"):
            for number, texts in sentences.items():
                name = f"{split}_{number}.png"
                put(f"images/{split}/A/{name}")
                put(f"images/{split}/B/{name}")
                raw = [{"raw": f" {text} .", "tokens": text.split()} for text in texts]
                flag = {"changeflag": int(number == "1")} if form == "flag" else {}
                images.append({"filename": name, "split": split, "sentences": raw, **flag})
                if masks:
                    mask = np.zeros((16, 20), np.uint8)
                    mask[2:6, 3:8] = mask[9:14, 12:18] = 2 * (number == "1")
                    put(f"images/{split}/label/{name}", mask)
        if form == "by split":
            content = {
                split: {f"{split}_{number}.png": texts for number, texts in sentences.items()}
                for split in ("train", "val", "test")
            }
            put("levir_cc_captions.json", content)
        else:
            put("LevirCCcaptions_v1.json" if form == "flag" else "LevirCCcaptions.json", {"images": images})

    return write
