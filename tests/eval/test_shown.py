"""Metrics as people read them: x 100 everywhere, in one function."""

import json
import math
import re

import pytest
from click.testing import CliRunner
from idc_eval import Prediction, write_predictions
from idc_eval.cli import main
from idc_eval.metrics import METRICS, labelled, shown
from idc_eval.report_data import curve_panels


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("bleu-4", 0.9314, "93.1"),
        ("cider", 1.9096, "191.0"),
        ("val/cider", 10.0, "1000.0"),
        ("false_alarm_rate", 0.05, "5.0 %"),
        ("statement_accuracy", 1.0, "100.0 %"),
        ("confidence_correlation", -0.031, "-3.1"),
        ("train/loss", 0.52341, "0.5234"),
        ("cider", math.nan, "-"),
    ],
)
def test_people_read_metrics_times_100_and_shares_in_percent(name, value, text):
    assert shown(name, value) == text


def test_a_column_says_its_unit_once_and_a_difference_has_a_sign():
    assert labelled("miss_rate") == "miss_rate (%)" and labelled("cider") == "cider"
    assert shown("miss_rate", 0.05, unit=False) == "5.0"
    assert shown("cider", 0.05, signed=True) == "+5.0" and shown("miss_rate", -0.05, signed=True) == "-5.0 %"


def test_every_rate_and_accuracy_is_a_percentage():
    assert {name for name, metric in METRICS.items() if metric.unit == "%"} >= {
        name for name in METRICS if name.endswith(("_rate", "_accuracy", "_share"))
    }


def test_score_compare_and_seeds_print_one_scale_and_json_keeps_the_raw_one(tmp_path):
    file = tmp_path / "predictions.jsonl"
    sentences = ["the red cube moved", "a green ball is gone", "someone added a blue cylinder"]
    write_predictions(
        file, [Prediction(id=str(row), hypothesis=text, references=[text]) for row, text in enumerate(sentences)]
    )
    for command in (["score", file], ["seeds", file], ["compare", file, file, "--draws", "100"]):
        printed = CliRunner().invoke(main, [*map(str, command), "--metrics", "cider"], env={"COLUMNS": "120"})
        assert printed.exit_code == 0 and re.search(r"cider\D+1000\.0\b", printed.stdout)
    raw = json.loads(CliRunner().invoke(main, ["score", str(file), "--metrics", "cider", "--json"]).stdout)
    assert raw["values"]["cider"] == pytest.approx(10)


def test_curves_of_metrics_are_on_the_scale_of_the_table():
    loss, rate = curve_panels({"val/loss": [(1, 0.5)], "val/miss_rate": [(1, 0.5)]})
    assert loss["title"] == "loss" and loss["lines"][0]["points"] == [[1, 0.5]]
    assert rate["title"] == "miss_rate (%)" and rate["lines"][0]["points"] == [[1, 50.0]]
