import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from idc_eval import Meteor, Prediction, read_predictions

STORED = Path(__file__).parent / "stored"


@pytest.fixture(scope="session")
def predictions() -> list[Prediction]:
    """Sixty odd captions, some empty, some equal to a reference, one to four references each."""
    return read_predictions(STORED / "predictions.jsonl")


@pytest.fixture(scope="session")
def stored_meteor() -> dict:
    """What pycocoevalcap 1.2's own PTBTokenizer and Meteor gave for them: value and per_example."""
    return json.loads((STORED / "meteor.json").read_text())


@pytest.fixture(scope="session")
def meteor() -> Iterator[Meteor]:
    """One METEOR for all slow tests."""
    with Meteor() as running:
        yield running


@pytest.fixture
def truth() -> dict:
    """A large red metal cube left of and behind everything, and two like spheres; the cube's change is up to the test.

    The spheres differ in place only: one is in the middle, one at the right and in front.
    """
    cube = {"size": "large", "color": "red", "material": "metal", "shape": "cube", "right": -1.0, "front": -1.0}
    sphere = {"size": "small", "color": "blue", "material": "rubber", "shape": "sphere", "right": 0.0, "front": 0.0}
    other = sphere | {"right": 1.0, "front": 1.0}
    return {"change_type": "none", "before": [cube, sphere, other], "after": [cube, sphere, other]} | {
        "changed_before": None,
        "changed_after": None,
    }
