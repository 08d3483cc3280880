import math
from pathlib import Path

import pytest

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.training import experiment

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
SMALL = [
    "data.dataset.train_pairs=8",
    "data.dataset.val_pairs=4",
    "data.dataset.test_pairs=4",
    "data.image_size=32",
    "data.batch_size=4",
    "data.workers=0",
    "train.epochs=1",
    "train.device=cpu",
    "train.threads=1",
    "tracking=off",
]


def test_there_are_experiments():
    assert EXPERIMENTS


def _marked(path: Path):
    # One of them belongs to what everybody runs: the README's main command.
    return pytest.param(path, id=path.stem, marks=() if path.stem == "transformer_concat" else pytest.mark.slow)


@pytest.mark.parametrize("path", [_marked(path) for path in EXPERIMENTS])
def test_an_experiment_is_short_and_trains_two_steps(tmp_path, monkeypatch, path):
    if path.stem not in ("forkme", "zoo"):  # which lists every setting, and every method
        assert len(path.read_text().splitlines()) <= 35
    whole = load_spec(path)
    overrides = SMALL
    # What they train on has to be had first.
    if path.stem in ("generated", "backbones", "own_pairs", "fine_tune", "zoo", "clevr_change_blender"):
        overrides = ["data.dataset={name: scenes, train_pairs: 8, val_pairs: 4, test_pairs: 4}", *SMALL[3:]]
    if path.stem == "generated":
        overrides.append("model.encoder.pretrained=false")
    if path.stem == "clevr_change_blender":
        overrides.append("train.start=null")  # the model of scenes_to_clevr.yaml
    if path.stem == "zoo":
        overrides.append("data.features=null")  # procedural scenes never show an image twice
    # METEOR starts Java, and reads its paraphrases for ten seconds on a new machine.
    metrics = [metric for metric in whole.eval.metrics if metric != "meteor"]
    monkeypatch.chdir(tmp_path)
    result = experiment.run(load_spec(path, [*overrides, f"eval.metrics={metrics}"]), Console(quiet=True))
    assert result and load_checkpoint(result.checkpoint).progress["step"] == 2
    assert result.test and all(math.isfinite(value) for value in result.test.values())


def test_forkme_shows_every_setting_with_its_default():
    path = next(path for path in EXPERIMENTS if path.stem == "forkme")
    forked = load_spec(path)
    minimal = load_spec(path, [*(f"{section}={{}}" for section in ("data", "train", "eval")), "register=null"])
    for section in ("data", "train", "eval"):
        shown, default = getattr(forked, section), getattr(minimal, section)
        assert shown.model_fields_set == set(type(shown).model_fields), section
        own = {"data": {"dataset", "tokenizer"}, "train": {"objectives"}, "eval": {"protocol", "metrics"}}[section]
        assert shown.model_dump(exclude=own) == default.model_dump(exclude=own)
    assert forked.completed()["data"]["tokenizer"] == minimal.completed()["data"]["tokenizer"]
