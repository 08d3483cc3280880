"""Datasets and scores read from captions whether something changed; they must read alike, and share no code."""

import pytest
from idc_data.scenes import Scenes
from idc_data.unchanged import claims_change as as_dataset
from idc_data.unchanged import no_change_sentences
from idc_eval.changed import ChangeReader
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
    "左侧的停车场移动了",  # both know English only: what they cannot read claims a change
    "没有变化",
]


@pytest.mark.parametrize("caption", SAID)
def test_both_read_a_sentence_alike(caption):
    assert as_dataset([caption], ()) == as_score(caption)


@pytest.mark.parametrize(
    ("caption", "claims"),
    [
        ("没有变化", False),
        ("画面 没有变化。", False),
        ("左侧的停车场移动了", True),
        ("Nessun cambiamento!", False),
        ("nessun cambiamentone", True),
        ("la scène est INCHANGE\u0301E", False),
    ],
)
def test_both_read_the_no_change_sentences_of_a_dataset_alike(tmp_path, caption, claims):
    sentences = ["没有变化", "Nessun cambiamento.", "inchangée"]
    (tmp_path / "no_change.txt").write_text("\n".join(sentences), encoding="utf-8")
    assert as_dataset([caption], no_change_sentences(tmp_path)) is claims
    assert ChangeReader([], sentences).claims_change(caption) is claims


def test_both_read_the_scenes_as_their_labels():
    for example in Scenes("val", image_size=16).examples(range(24)):
        for caption in example.references:
            assert as_dataset([caption], ()) == as_score(caption) == example.changed
