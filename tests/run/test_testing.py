"""`idc-run --test`: a trained model on any dataset, decoded and scored as its own spec says."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from idc_eval.prediction import read_predictions
from idc_models import load
from PIL import Image

from idc_run import cli
from idc_run.tracking.store import connect
from idc_run.tracking.tracker import Tracker

OFF = ("-s", "tracking=off", "-s", "eval.metrics=[bleu, cider]")

# What mlflow itself is warned of, by sqlalchemy and by its own type hints; and doors are no scenes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:::mlflow"),
    pytest.mark.filterwarnings("ignore::idc_models.loading.ForeignImages"),
]


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A working folder with the dataset `own`, which has a test split of three pairs."""
    monkeypatch.chdir(tmp_path)
    split = tmp_path / "own" / "test"
    split.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for index in range(3):
        for side in ("before", "after"):
            small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
            small.resize((60, 40)).save(split / f"{index}_{side}.png")
        names = {f"{side}_file_name": f"{index}_{side}.png" for side in ("before", "after")}
        references = ["the red door opened", "there is an open door"]
        rows.append({"id": f"p{index}", **names, "references": references, "changed": True, "change_type": "open"})
    (split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return split


def run(*arguments, code=0):
    ended = CliRunner().invoke(cli.run, [str(each) for each in arguments])
    assert ended.exit_code == code, ended.output
    return ended


def test_a_shipped_model_is_scored_on_any_dataset(dataset):
    said = run("--test", "scenes", "-s", "data.dataset=own", *OFF, "--out", "tested").stdout
    assert "3 pairs, protocol plain" in said
    assert "protocol scenes/total is for scenes" in said and "of the words in the references are not" in said
    predictions = read_predictions("tested/predictions.jsonl")
    pairs = [(dataset / f"{index}_before.png", dataset / f"{index}_after.png") for index in range(3)]
    wanted = load("scenes").caption(*map(list, zip(*pairs, strict=True)))
    assert [each.hypothesis for each in predictions] == [each.caption for each in wanted]
    assert [each.id for each in predictions] == ["p0", "p1", "p2"]
    scores = json.loads(Path("tested/scores.json").read_text())
    assert scores["protocol"] == "plain" and {"bleu-4", "cider"} <= scores["values"].keys()
    assert Path("tested/report.html").is_file() and not Path("tested/curves.json").exists()


def test_a_dataset_s_own_no_change_sentences_are_kept_with_its_scores(dataset):
    (dataset.parent / "no_change.txt").write_text("tutto uguale")
    run("--test", "scenes", "-s", "data.dataset=own", *OFF, "--out", "tested")
    assert json.loads(Path("tested/scores.json").read_text())["details"]["no_change"] == ["tutto uguale"]


@pytest.mark.slow
def test_its_own_data_keep_their_protocol_and_overrides_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("--test", "scenes", "-s", "data.dataset.val_pairs=4", "-s", "eval.beam=2", *OFF, "--split", "val").stdout
    assert "4 pairs, protocol scenes/total" in said and "is for scenes" not in said
    (folder,) = Path("mlruns/tested").iterdir()
    assert folder.name.startswith("transformer-concat-val-") and str(folder) in said
    said = run("--test", "scenes", "-s", "data.dataset.test_pairs=3", "-s", "eval.protocol=plain/mine", *OFF).stdout
    assert "3 pairs, protocol plain/mine" in said
    assert len(list(Path("mlruns/tested").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test", "scene"], "did you mean 'scenes'?"),
        (["--test", "scenes", "-s", "train.epochs=3"], "'train.epochs' is a training setting"),
        (["--test", "scenes", "-s", "model.decoder=gru"], "'model.decoder' is a training setting"),
        (["--test", "scenes", "-s", "data.dataset=own", "--split", "val"], "val"),
        (["--test", "scenes", "-s", "data.dataset=gone"], "gone"),
        (["--test", "scenes", "-s", "data.dataset=own", "-s", "eval.metrics=[bluh]"], "bluh"),
        (
            ["--test", "scenes", "-s", "data.dataset=own", "-s", "eval.protocol=scenes/distractor"],
            "unchanged pairs",
        ),
        (["--test", "scenes", "--check"], "--check and --resume do not apply"),
        (["--test", "scenes", "--from-run", "a" * 32], "expected exactly one of: a SPEC file"),
        (["--split", "val", "spec.yaml"], "--split and --out need --test MODEL"),
        ([], "expected exactly one of: a SPEC file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(dataset, arguments, message):
    ended = run(*arguments, *OFF[: 2 if "eval.metrics=[bluh]" in arguments else 4], code=2)
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.slow
def test_a_test_is_a_run_of_its_own(registered, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(registered.folder)
    settings = (
        "-s",
        f"data.dataset={dataset.parent}",
        "-s",
        "eval.metrics=[bleu, cider]",
        "--out",
        str(tmp_path / "out"),
    )
    said = run("--test", "models:/idc@champion", *settings).stdout
    client = connect().MlflowClient()
    experiment = client.get_experiment_by_name("plain")
    (found,) = client.search_runs([experiment.experiment_id], "tags.`tested.model` != ''")
    assert found.info.status == "FINISHED" and found.data.tags["tested.run"] == registered.result.run_id
    assert 0 <= found.data.metrics["test/bleu-1"] <= 1 and "compare" in said
    assert "predictions.jsonl" in {file.path for file in client.list_artifacts(found.info.run_id)}


@pytest.mark.slow
def test_a_test_into_a_folder_with_other_files_hands_on_its_own_and_can_be_repeated(dataset, monkeypatch):
    handed = []
    monkeypatch.setattr(Tracker, "artifact", lambda self, path, folder="": handed.append(path.name))
    Path("tested").mkdir()
    Path("tested/secret.txt").write_text("mine")
    settings = ("-s", "data.dataset=own", *OFF, "-s", "eval.no_change=[all as before]", "--out", "tested")
    run("--test", "scenes", *settings)
    run("--test", "scenes", *settings)
    assert "predictions.jsonl" in handed and "secret.txt" not in handed
    assert Path("tested/secret.txt").read_text() == "mine" and Path("tested/images").is_dir()
    assert json.loads(Path("tested/scores.json").read_text())["details"]["no_change"] == ["all as before"]
