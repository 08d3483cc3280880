"""Datasets and scores read from captions whether something changed; they must read alike, and share no code."""

import pytest
from idc_data.scenes import Scenes
from idc_data.unchanged import claims_change as as_dataset
from idc_eval.changed import claims_change as as_score

SAID = [
    "none",
    "no change was made",
    "there is no apparent difference",
    "i don't see any differences",
    "nothing in the second image appears to have changed",
    "the scene is identical",
    "the two images show the same scene",
    "the two scenes are the same",
    "nothing has changed except the ball",
    "the ball is no longer there",
    "everything is as it was",
    "nothing but the red ball has changed",
    "a different vehicle can be seen",
    "",
    "...",
    "il quadrato è sparito",
]


@pytest.mark.parametrize("caption", SAID)
def test_both_read_a_sentence_alike(caption):
    assert as_dataset([caption], ()) == as_score(caption)


def test_both_read_the_scenes_as_their_labels():
    for example in Scenes("val", image_size=16).examples(range(24)):
        for caption in example.references:
            assert as_dataset([caption], ()) == as_score(caption) == example.changed
