import math

import numpy as np
import pytest
from idc_data.scenes import Scenes
from idc_eval import DIAGNOSTICS, Prediction, Regions, judge, score
from idc_eval.calibration import calibration_error, confidence, confidence_auroc, rank_correlation
from idc_eval.diagnostics import (
    change_kind,
    commonest_share,
    distinct,
    hallucinates,
    inverse_truth,
    kind_by_words,
    unsupported_attribute,
)
from idc_eval.localisation import coverage, pointing_game
from idc_eval.scene_truth import read_truth
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score


def located(change_map, before=(), after=()):
    regions = Regions(before=[list(box) for box in before], after=[list(box) for box in after])
    return Prediction(id="1", hypothesis="x", references=["y"], change_map=change_map, regions=regions)


def test_pointing_game_and_coverage_by_hand():
    peak = [[0.0, 0.0], [0.2, 0.8]]
    lower_right = [0.5, 0.5, 0.5, 0.5]
    assert pointing_game(located(peak, after=[lower_right])) == 1
    assert coverage(located(peak, after=[lower_right])) == pytest.approx(0.8)
    assert pointing_game(located(peak, before=[[0.0, 0.0, 0.2, 0.2]])) == 0
    # A box over half of each lower cell, on both sides: it counts once.
    band = [0.0, 0.75, 1.0, 0.25]
    assert coverage(located(peak, before=[band], after=[band])) == pytest.approx(0.5)
    flat = [[1.0] * 4] * 4
    assert coverage(located(flat, after=[[0.0, 0.0, 0.25, 0.5]])) == pytest.approx(0.125)
    for nothing in (located(peak), located(None, after=[lower_right]), located(peak, after=[[0.1, 0.1, 0.0, 0.2]])):
        assert math.isnan(pointing_game(nothing)) and math.isnan(coverage(nothing))
    assert coverage(located([[0.0, 0.0]], after=[lower_right])) == 0


@pytest.mark.parametrize(
    ("first", "second", "fit"),
    [
        ("the cube is gone", "a cube appeared", True),
        ("the cube is gone", "the cube is missing", False),
        ("there is no change", "the scene is the same as before", True),
        ("there is no change", "the cube moved", False),
        ("a man appeared near the car", "the man is no longer there", True),
        ("the red cube turned blue", "the blue cube became red", True),
        ("the car is parked elsewhere", "the car is closer", True),
    ],
)
def test_both_orders_fit_each_other(first, second, fit):
    said = Prediction(id="1", hypothesis=first, references=["x"], swapped=second)
    assert score([said], ["swap_consistency"]).values["swap_consistency"] == fit


def test_the_kind_of_change_is_read_from_words():
    """By words alone, on 1,200 captions of scenes: no kind is taken for its opposite, and few are not read."""
    wrong, unread, total = 0, 0, 0
    for example in Scenes("test", image_size=16, test_pairs=240).examples(range(240)):
        for caption in example.references:
            kind = example.change_type if example.change_type in ("none", "add", "drop") else "other"
            found = kind_by_words(caption)
            wrong += found != kind and found != "other"
            unread += found != kind and found == "other"
            total += 1
            assert change_kind(caption) == example.change_type
    assert total == 1200 and wrong == 0 and unread / total < 0.03, (wrong, unread)


def test_the_truth_of_the_images_in_the_other_order():
    kinds = set()
    for example in Scenes("val", image_size=16, val_pairs=60).examples(range(60)):
        turned = inverse_truth(example.truth)
        assert inverse_truth(turned) == dict(example.truth)
        kind = turned["change_type"]
        kinds.add(kind)
        assert kind == {"add": "drop", "drop": "add"}.get(example.change_type, example.change_type)
        says = {"add": "is gone", "drop": "appeared"}.get(example.change_type)
        if says:
            assert (
                judge(f"the thing {says}", turned).type_right
                and not judge(f"the thing {says}", example.truth).type_right
            )
    assert {"add", "drop", "none", "move"} <= kinds


def test_what_is_in_neither_image_is_made_up(truth):
    scene = read_truth(truth)
    assert hallucinates("the small blue ball is gone", scene) is False
    assert hallucinates("the green thing moved", scene) is True
    assert hallucinates("the ball that is left of the yellow cube moved", scene) is True
    assert hallucinates("nothing has changed", scene) is None
    assert hallucinates("what a day", scene) is None


def test_attributes_that_no_reference_has():
    def said(hypothesis):
        return unsupported_attribute(Prediction(id="1", hypothesis=hypothesis, references=["a big grey car left"]))

    assert said("the large gray car is gone") == 0
    assert said("the red car is gone") == 1
    assert math.isnan(said("the car is gone"))


def test_attributes_are_not_looked_for_where_no_reference_names_any():
    said = [Prediction(id=str(n), hypothesis="the red cube moved", references=["the car is gone"]) for n in range(2)]
    scores = score(said, ["unsupported_attribute_rate"])
    assert not scores.values and "no reference names a colour" in scores.skipped["unsupported_attribute_rate"]
    said.append(Prediction(id="2", hypothesis="nothing has changed", references=["the blue car is gone"]))
    assert score(said, ["unsupported_attribute_rate"]).values == {"unsupported_attribute_rate": 1.0}


def test_diversity_by_hand():
    said = ["a b a b", "a b", "a b"]
    assert distinct(said, 1).value == 2 / 8 and distinct(said, 2).value == 2 / 5
    assert commonest_share(said).value == pytest.approx(2 / 3)
    assert math.isnan(distinct(["", ""], 1).value) and distinct(["", ""], 1).count == 0


def test_calibration_by_scikit_learn_and_by_construction():
    rng = np.random.default_rng(0)
    sure = rng.random(4000)
    right = [bool(each) for each in rng.random(4000) < sure]  # as often right as it is sure
    assert calibration_error(list(sure), right).value < 0.03
    assert calibration_error(list(sure), [True] * 4000).value == pytest.approx(1 - sure.mean())
    assert confidence_auroc(list(sure), right).value == pytest.approx(roc_auc_score(right, sure))
    rounded = list(np.round(sure, 1))  # with ties
    assert confidence_auroc(rounded, right).value == pytest.approx(roc_auc_score(right, rounded))
    other = sure + rng.normal(size=4000)
    assert rank_correlation(rounded, list(other)).value == pytest.approx(spearmanr(rounded, other).statistic)
    assert math.isnan(confidence_auroc([0.5], [True]).value) and math.isnan(
        rank_correlation([1, 1, 1], [1, 2, 3]).value
    )
    # What is not known is left out.
    assert confidence_auroc([math.nan, 0.1, 0.9, 0.5], [True, False, True, None]).value == 1
    said = Prediction(id="1", hypothesis="a b c", references=["x"], log_prob=4 * math.log(0.5))
    assert confidence(said) == pytest.approx(0.5)


def test_what_is_missing_is_said(predictions):
    scores = score(predictions, DIAGNOSTICS)
    for name, needs in {
        "pointing_game": "change_map",
        "swap_consistency": "swapped",
        "calibration_error": "log_prob",
    }.items():
        assert needs in scores.skipped[name]
    assert 0 < scores.values["distinct-1"] < scores.values["distinct-2"] <= 1
    assert "distinct-1" not in scores.per_example and scores.counts["distinct-1"] == len(predictions)
