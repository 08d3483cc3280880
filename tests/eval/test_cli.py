import json

import pytest
from click.testing import CliRunner
from idc_eval import Prediction, write_predictions
from idc_eval.cli import main


@pytest.fixture
def file(tmp_path, truth):
    path = tmp_path / "predictions.jsonl"
    moved = truth | {"change_type": "move", "changed_before": 0, "changed_after": 0}
    says = {
        "changed": True,
        "change_type": "move",
        "truth": moved,
        "references": ["the cube moved", "someone moved it"],
    }
    write_predictions(
        path,
        [
            Prediction(id="1", hypothesis="the cube moved", **says),
            Prediction(id="2", hypothesis="nothing changed", **says),
        ],
    )
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def test_a_table_by_default(file):
    result = run(file, "--ceiling", "--by-type")
    assert result.exit_code == 0
    assert result.stderr == ""
    for word in ("bleu-4", "cider", "statement_accuracy", "50.0", "move", "PTBTokenizer", "skipped false_alarm_rate"):
        assert word in result.stdout
    assert "meteor" not in result.stdout


def test_json_and_nothing_else(file):
    result = run(file, "--json", "--metrics", "bleu, statement_accuracy", "--metrics", "cider", "--ceiling")
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert list(scores["values"]) == ["bleu-1", "bleu-2", "bleu-3", "bleu-4", "statement_accuracy", "cider"]
    assert scores["values"]["statement_accuracy"] == 0.5
    assert scores["by_type"]["move"] == {"n": 2, "statement_accuracy": 0.5}
    assert scores["ceiling"]["values"]["statement_accuracy"] == 1


def test_help_shows_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "\n    idc-eval score predictions.jsonl --json > scores.json\n" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "blue"], "did you mean 'bleu'"),
        (["--metrics", ","], "unknown metric ''"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(file, arguments, message):
    result = run(file, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_bad_files(tmp_path):
    missing = run(tmp_path / "none.jsonl")
    assert missing.exit_code == 2
    assert "is not a file, a folder or the id of a run" in missing.stderr
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "1"}\n')
    result = run(bad, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    told = "hypothesis is missing, add it; references is missing, add it"
    assert result.stderr.startswith(f"error: {bad}:1: {told}") and result.stderr.count("\n") == 1
    bad.write_text('{"id": "1", "hypothesis": "x", "references": ["y"]}\n')
    assert "no example has two references" in run(bad, "--ceiling").stderr
