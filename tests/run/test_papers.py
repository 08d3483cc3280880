"""The specs of published methods: each parses, is explained, fits together, and trains."""

import math
from pathlib import Path

import pytest
import torch
from idc_models import build_captioner
from idc_models.testing import Vocabulary
from safetensors.torch import load_file

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


#: Which papers need another setting, because their weights are downloaded or they begin with another run.
OTHERS = {
    "clip4idc-retrieval": ["model.fusion={name: clip4idc, dim: 16}"],
    "clip4idc": ["model.fusion={name: clip4idc, dim: 16}", "train.start=null"],
}


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
    result = experiment.run(load_spec(path, [*SMALL, *OTHERS.get(path.stem, [])]), Console(quiet=True))
    assert result and result.test and all(math.isfinite(value) for value in result.test.values())


@pytest.mark.slow
def test_the_second_stage_of_clip4idc_begins_with_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (path for path in PAPERS if path.stem.startswith("clip4idc"))
    if second.stem.endswith("retrieval"):
        first, second = second, first
    tiny = [
        *SMALL,
        "model.encoder={name: timm, backbone: test_vit, level: 3, img_size: 32}",
        "model.fusion={name: clip4idc, backbone: test_vit, layers: 2, dim: 16}",
        "train.optimizer.rates={}",
    ]
    result = experiment.run(load_spec(first, tiny), Console(quiet=True))
    assert result and result.checkpoint
    start = f"train.start.checkpoint={result.checkpoint}"
    spec = load_spec(second, [*tiny, start, "train.optimizer.rates={encoder: 0, fusion: 0}"])
    trained = experiment.run(spec, Console(quiet=True))
    assert trained and trained.checkpoint
    was, now = (load_file(run.checkpoint) for run in (result, trained))
    taken = [name for name in now if name.startswith(("model/encoder.", "model/fusion."))]
    assert taken and all(now[name].equal(was[name]) for name in taken)
