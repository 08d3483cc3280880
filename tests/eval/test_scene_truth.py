from copy import deepcopy

import pytest
from idc_eval import judge
from idc_eval.scene_truth import Verdict

ALL_WRONG = Verdict(False, False, False)
TYPE_ONLY = Verdict(True, False, False)
ALL_BUT_WHICH = Verdict(True, True, False)
RIGHT = Verdict(True, True, True)


def changed(truth, change_type):
    """The fixture's scene after a change; the cube changes, the front right sphere comes or goes."""
    truth = deepcopy(truth) | {"change_type": change_type}
    truth |= {"changed_before": 0, "changed_after": 0}
    match change_type:
        case "color":
            truth["after"][0] = truth["after"][0] | {"color": "green"}
        case "texture":
            truth["after"][0] = truth["after"][0] | {"material": "rubber"}
        case "move":
            truth["after"][0] = truth["after"][0] | {"right": 3.0}
        case "add":
            del truth["before"][2]
            truth |= {"changed_before": None, "changed_after": 2}
        case "drop":
            del truth["after"][2]
            truth |= {"changed_before": 2, "changed_after": None}
    return truth


@pytest.mark.parametrize(
    ("change_type", "caption", "verdict"),
    [
        ("color", "the cube turned green", RIGHT),
        ("color", "someone painted the big red shiny block green.", RIGHT),
        ("color", "the thing behind the small sphere turned green", ALL_BUT_WHICH),
        ("color", "the cube turned blue", TYPE_ONLY),
        ("color", "the green cube turned green", TYPE_ONLY),
        ("color", "the object turned green", ALL_BUT_WHICH),
        ("color", "the sphere turned green", TYPE_ONLY),
        ("color", "the cube turned shiny", ALL_WRONG),
        ("color", "nothing changed", ALL_WRONG),
        ("color", "gibberish", ALL_WRONG),
        ("color", "", ALL_WRONG),
        ("texture", "the cube turned matte", RIGHT),
        ("texture", "the metallic cube is now rubber", RIGHT),
        ("texture", "the cube turned metal", TYPE_ONLY),
        ("move", "the red thing moved", RIGHT),
        ("move", "the cube that is left of the cylinder moved", ALL_BUT_WHICH),
        ("move", "the red thing right of the cube moved", ALL_BUT_WHICH),
        ("add", "a sphere has appeared", ALL_BUT_WHICH),
        ("add", "there is now a new small sphere that is in front of the cube", ALL_BUT_WHICH),
        ("add", "someone added a cube", TYPE_ONLY),
        ("add", "the sphere is gone", ALL_WRONG),
        ("drop", "someone removed the ball", ALL_BUT_WHICH),
        ("drop", "the ball to the right of the cube is gone", ALL_BUT_WHICH),
        ("drop", "a cube is gone", TYPE_ONLY),
    ],
)
def test_statements_of_change(truth, change_type, caption, verdict):
    assert judge(caption, changed(truth, change_type)) == verdict


@pytest.mark.parametrize(("relation", "which"), [("right of", 2), ("in front of", 2), ("left of", 0), ("behind", 0)])
def test_relations_single_out_one_object(truth, relation, which):
    anchor = {"size": "large", "color": "purple", "material": "metal", "shape": "cylinder", "right": 0.5, "front": 0.5}
    cube, sphere, other = truth["before"]
    spheres = [sphere | {"right": -0.5, "front": -0.5}, anchor, other]
    scene = {"change_type": "drop", "before": spheres, "after": [cube], "changed_before": which, "changed_after": None}
    said = f"the ball {relation} the purple thing is missing"
    assert judge(said, scene) == RIGHT
    assert judge(said, scene | {"changed_before": 2 - which}) == ALL_BUT_WHICH


def test_an_added_thing_is_sought_in_the_after_image(truth):
    truth = changed(truth, "add")
    truth["after"][2] |= {"color": "cyan"}
    assert judge("a cyan ball right of the blue ball was added", truth) == RIGHT
    assert judge("a cyan ball left of the blue ball was added", truth) == ALL_BUT_WHICH


@pytest.mark.parametrize(
    ("caption", "right"), [("there is no change", True), ("", False), ("the cube moved", False), ("no idea", False)]
)
def test_statements_of_no_change(truth, caption, right):
    assert judge(caption, truth) == Verdict(right, None, right)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"change_type": "color"}, "changed_before is None, expected the index of one of 3 objects"),
        ({"changed_before": 0}, "changed_before is 0, expected null"),
        ({"change_type": "explode"}, "change_type is 'explode'"),
        ({"before": [{"size": "large"}]}, "before.0.color is missing"),
        ({"change_type": "move", "changed_before": 0, "changed_after": 9}, "changed_after is 9"),
    ],
)
def test_truth_of_another_form_is_refused(truth, broken, message):
    with pytest.raises(ValueError, match=message):
        judge("nothing changed", truth | broken)
