"""From a folder of images to a trained model whose run leads back to how its data was made."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from idc_data.cli import main
from PIL import Image

from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.tracking import generation
from idc_run.training import experiment

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with photos in six groups of alike ones, and captions of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "photos").mkdir()
    rng, captions = np.random.default_rng(0), {}
    for group, thing in enumerate(["dog", "cat", "bird", "car", "tree", "boat"]):
        scene = rng.integers(0, 256, (8, 8, 3))
        for index, color in enumerate(["red", "black", "white", "brown"]):
            noisy = np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)
            name = f"{group}_{index}.png"
            Image.fromarray(noisy).resize((40, 40), Image.Resampling.BILINEAR).save(tmp_path / "photos" / name)
            captions[name] = f"a {color} {thing}"
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    return tmp_path


def generate(*overrides):
    given = [
        "collect.root=photos",
        "pair={embedding: thumbnail, low: 0.5, high: 0.9999, same_hash: -1}",
        "caption={name: given, file: captions.json}",
        "difference=rules",
        "split={val: 0.2, test: 0.2}",
        "image_size=32",
        *overrides,
    ]
    command = ["generate", str(EXPERIMENTS / "generate" / "photos.yaml")]
    ended = CliRunner().invoke(main, [*command, *(part for one in given for part in ("-s", one))])
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.slow
def test_a_generation_is_a_run_and_the_model_trained_on_it_leads_back(folder):
    said = generate()
    assert "tracked as run" in said
    made = json.loads((folder / "data/photos/generation.json").read_text())
    assert "already tracked" in generate(), "the same dataset is one run"
    spec = load_spec(
        EXPERIMENTS / "generated.yaml",
        [
            "model.encoder={name: cnn, widths: [8, 8]}",
            "data.image_size=32",
            "data.workers=0",
            "train.epochs=1",
            "train.threads=1",
            "eval.metrics=[bleu, rouge-l, cider]",
        ],
    )
    result = experiment.run(spec, Console(quiet=True))
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.get_run(made["run"]["id"])
    assert run.data.params["difference.name"] == "rules" and run.data.metrics["filter/kept"] > 10
    assert {split.tags[0].value for split in run.inputs.dataset_inputs} == {"train", "val", "test"}
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"README.md", "generation.json", "samples"}
    trained = client.get_run(result.run_id)
    assert trained.data.tags["generation"] == run.info.run_id
    assert f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" in trained.data.tags["mlflow.note.content"]


def test_a_generation_that_cannot_be_tracked_is_a_generation(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "not tracked: " in generate() and (folder / "data/photos/train").is_dir()
    assert "no installed package provides a tracker 'wandb'" in generate("tracking=wandb")
    assert "tracking is off" in generate("tracking=off")


def test_data_that_nobody_generated_leads_nowhere(tmp_path):
    assert generation.source({"name": "scenes"}) == {}
    assert generation.source({"name": "folder", "root": str(tmp_path)}) == {}
