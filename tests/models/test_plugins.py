"""The plugins in examples/plugins: published methods in outline, which the contract has to have room for."""

import inspect
import sys
from pathlib import Path

import pytest
from idc_models.testing import check_encoder, check_fusion, check_objective

FOLDER = Path(__file__).parents[2] / "examples/plugins"
sys.path.append(str(FOLDER))

import cbr  # noqa: E402
import edges  # noqa: E402
import joint  # noqa: E402
import scorer  # noqa: E402
import self_critical  # noqa: E402


def test_a_plugin_is_short():
    for path in FOLDER.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 60, path


@pytest.mark.parametrize(
    ("suite", "plugin", "settings"),
    [
        (check_fusion, scorer.Scorer, {"dim": 32}),
        (check_objective, scorer.Match, {"fusion": scorer.Scorer}),
        (check_objective, cbr.Cbr, {"fusion": scorer.Scorer}),
        (check_encoder, edges.EdgeEncoder, {"dim": 32, "size": 32}),
        (check_encoder, joint.JointTransformer, {"dim": 32}),
        (check_objective, self_critical.SelfCritical, {"corpus": 3}),
    ],
)
def test_a_plugin_keeps_the_contract(suite, plugin, settings):
    assert inspect.getdoc(plugin)
    suite(plugin, **settings)
