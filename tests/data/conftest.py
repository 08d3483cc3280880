"""Hand-made pairs: a red square on grey that moves, vanishes, or stays."""

import numpy as np
import pytest
from idc_data import ChangeExample, Regions

RED = (220, 20, 20)


def scene(boxes, *, size=(24, 32), grey=90):
    image = np.full((*size, 3), grey, np.uint8)
    for x, y, width, height in boxes:
        image[int(y) : int(y + height), int(x) : int(x + width)] = RED
    return image


def example(number, *, split="train", kind=None, **changes):
    kind = kind or ("move", "drop", "none")[number % 3]
    before = ((4.0, 6.0, 8.0, 6.0),)
    after = {"move": ((18.0, 10.0, 8.0, 6.0),), "drop": (), "none": before}[kind]
    references = {
        "move": ("the red square moved", "someone moved the square", "the square is in a new place"),
        "drop": ("the red square is gone", "someone removed the square"),
        "none": ("nothing has changed", "there is no change"),
    }[kind]
    fields = {
        "id": f"{split}-{number}",
        "before": scene(before, grey=90 + number + 40 * (split != "train")),
        "after": scene(after, grey=92 + number + 40 * (split != "train")),
        "references": references,
        "changed": kind != "none",
        "change_type": kind,
        "split": split,
        "regions": None if kind == "none" else Regions(before, after),
        "provenance": {"maker": "by hand", "number": number},
    }
    return ChangeExample(**(fields | changes))


class Squares:
    """A reader of examples in memory."""

    endless = False
    fingerprint = "0123456789abcdef"

    def __init__(self, num=10, **changes):
        self._examples = [example(number, **changes) for number in range(num)]

    def __len__(self):
        return len(self._examples)

    def __getitem__(self, index, /):
        return self._examples[index]


@pytest.fixture
def make_example():
    return example


@pytest.fixture
def make_scene():
    return scene


@pytest.fixture
def squares():
    return Squares
