"""The specs of published methods: each parses, is explained, fits together, and trains."""

import math
from pathlib import Path

import pytest
import torch
from idc_models import build_captioner
from idc_models.testing import Vocabulary

from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.training import experiment

PAPERS = sorted((Path(__file__).parents[2] / "experiments" / "papers").glob("*.yaml"))
EACH = pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PAPERS])
SMALL = [
    "data.dataset={name: scenes, train_pairs: 4, val_pairs: 2, test_pairs: 2}",
    "data.image_size=32",
    "data.batch_size=2",
    "data.triplets=false",
    "data.workers=0",
    "model.encoder={name: cnn, widths: [8, 8]}",
    "train.epochs=1",
    "train.device=cpu",
    "train.threads=1",
    "eval.protocol=scenes/total",
    "eval.metrics=[bleu, cider]",
    "eval.select=cider",
    "tracking=off",
]


def test_there_are_papers():
    assert PAPERS


@EACH
def test_the_spec_of_a_paper_says_how_to_run_it_and_what_was_published(path):
    spec, text = load_spec(path), path.read_text()
    assert spec.name == path.stem
    header = text.partition("\nname:")[0].splitlines()
    assert all(line.startswith("# ") for line in header)
    for word in ("Command: ", "Published: ", "Run by us: ", "Differs: "):
        assert any(line.startswith(f"# {word}") for line in header), f"the header of {path.name} lacks {word!r}"
    assert f"experiments/papers/{path.name}" in text


@EACH
def test_the_parts_of_a_paper_fit_together(path):
    spec = load_spec(path)
    with torch.device("meta"):  # its shapes only
        model = build_captioner(spec.model, Vocabulary(), spec.train.objectives, pretrained=False)
    assert all(weight.is_meta for weight in model.parameters())


@pytest.mark.slow
@EACH
def test_a_paper_trains_two_steps(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    result = experiment.run(load_spec(path, SMALL), Console(quiet=True))
    assert result and result.test and all(math.isfinite(value) for value in result.test.values())
