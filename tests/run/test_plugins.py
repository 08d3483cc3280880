"""The plugins in examples/plugins, trained, tested and loaded again as any built-in."""

import sys
from pathlib import Path

import pytest
import torch

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.training import experiment
from idc_run.training.data import open_data
from idc_run.training.ready import build
from idc_run.training.start import open_start

FOLDER = Path(__file__).parents[2] / "examples/plugins"
SHORT = ("train.epochs=1", "data.dataset.train_pairs=12", "data.dataset.val_pairs=4", "data.dataset.test_pairs=4")
SCORER = "model.fusion={name: 'scorer:Scorer', dim: 16, layers: 1}"
CBR = "train.objectives={caption: 1.0, 'scorer:Match': 0.1, 'cbr:Cbr': 0.001}"
JOINT = "model.encoder={name: 'joint:JointTransformer', dim: 16, layers: 1}"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])


def trained(chosen):
    """The checkpoint of a run, and which of the trainable parameters have moved and which have not, by part."""
    result = experiment.run(chosen, Console(quiet=True))
    model = load_checkpoint(result.checkpoint).build()  # which needs no plugin to have a privilege
    start = open_start(chosen.train.start, chosen.data.max_length) if chosen.train.start else None
    tokenizer = open_data(chosen, start and start.tokenizer).tokenizer
    first = dict(build(chosen, tokenizer, torch.device("cpu"), start).named_parameters())
    moved, still = set(), set()
    for name, value in model.named_parameters():
        (still if value.equal(first[name]) else moved).add(name.partition(".")[0])
    return result.checkpoint, moved, still


@pytest.mark.slow
def test_a_fusion_and_objectives_over_its_insides_and_the_states(spec):
    _, moved, still = trained(spec(SCORER, CBR, *SHORT))
    assert moved == {"encoder", "fusion", "decoder", "objectives"} and not still


def test_a_parameter_may_have_five_axes(spec):
    experiment.check(spec(JOINT), Console(quiet=True))


@pytest.mark.slow
def test_an_encoder_of_both_images_with_a_rate_of_its_own(spec):
    _, moved, still = trained(spec(JOINT, "train.optimizer.rates={encoder: 0.1}", *SHORT))
    assert moved == {"encoder", "fusion", "decoder"} and not still


@pytest.mark.slow
def test_two_stages_and_then_rewards_for_what_is_drawn(spec):
    matching = "train.objectives={'scorer:Match': 1.0}"
    first, moved, still = trained(spec(SCORER, matching, *SHORT))
    assert "encoder" in moved and "decoder" not in moved and "decoder" in still
    start = f"train.start={{checkpoint: {first}, parts: [encoder, fusion]}}"
    second, moved, still = trained(spec(SCORER, start, CBR, *SHORT))
    assert moved == {"encoder", "fusion", "decoder", "objectives"} and not still
    rewards = "train.objectives={'self_critical:SelfCritical': {weight: 1.0, corpus: 8}}"
    _, moved, still = trained(spec(SCORER, f"train.start={second}", rewards, *SHORT))
    assert "decoder" in moved
