"""The plugins in examples/plugins, trained, tested and loaded again as any built-in."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from idc_data.example import SPLITS
from idc_data.layout import write_layout
from idc_data.readers import open_reader
from idc_models import load
from idc_models.testing import check_decoder
from safetensors.torch import load_file

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.training import experiment
from idc_run.training.data import open_data
from idc_run.training.ready import build
from idc_run.training.start import open_start

FOLDER = Path(__file__).parents[2] / "examples/plugins"
PAIR = [str(FOLDER.parent / f"pairs/{side}.png") for side in ("before", "after")]
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
        if value.requires_grad:
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


@pytest.fixture
def lm(gpt2, tmp_path):
    """The settings of a tokenizer and of a decoder, both of one folder as `save_pretrained` leaves it."""
    transformers = pytest.importorskip("transformers")
    folder = shutil.copytree(gpt2, tmp_path / "lm")
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=128)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    decoder = f"{{name: 'causal_lm:CausalLm', model: {folder}, dim: 16, positions: 128}}"
    return folder, (f"data.tokenizer={{name: hf, model: {folder}}}", f"model.decoder={decoder}")


@pytest.mark.slow
def test_a_language_model_with_low_rank_updates_and_its_own_tokenizer(spec, lm):
    folder, settings = lm
    checkpoint, moved, still = trained(spec(*settings, *SHORT))
    assert moved == {"encoder", "fusion", "decoder"} and not still
    decoder = load_checkpoint(checkpoint).build().decoder
    names = {name for name, value in decoder.named_parameters() if value.requires_grad}
    assert names == {"prefix.weight", "prefix.bias"} | {
        f"lm.transformer.h.{block}.attn.c_attn.parametrizations.weight.0.{side}"
        for block in range(2)
        for side in ("up", "down")
    }
    kept = load_file(checkpoint)  # the rest is named, and loaded again from the folder
    assert {name for name in kept if ".lm." in name} == {f"model/decoder.{name}" for name in names if "lm." in name}
    theirs = load_file(folder / "model.safetensors")
    assert decoder.lm.transformer.wte.weight.equal(theirs["transformer.wte.weight"][: decoder.vocab.size])
    said = load(checkpoint).caption(*PAIR).caption
    assert said == " ".join(said.split()) and "Ġ" not in said


@pytest.mark.slow
def test_the_language_model_keeps_the_contract():
    from causal_lm import CausalLm

    check_decoder(CausalLm)


@pytest.mark.slow
def test_a_language_model_of_another_size_is_named(spec, lm):
    _, (tokenizer, decoder) = lm
    with pytest.raises(ValueError, match="transformer.* expected"):
        experiment.check(spec(tokenizer, decoder.replace("dim: 16", "dim: 32")), Console(quiet=True))


@pytest.mark.slow
def test_an_input_of_ones_own(spec):
    for split in SPLITS:
        reader = open_reader({"name": "scenes", "val_pairs": 4, "test_pairs": 4}, split, image_size=32)
        write_layout(Path("pairs"), [reader[number] for number in range(8 if split == "train" else 4)])
    edges = ("data.dataset={name: 'edges:Pairs', root: pairs}", "model.encoder={name: 'edges:EdgeEncoder', dim: 16}")
    best, moved, still = trained(spec(*edges, "data.workers=1", "train.epochs=1"))
    assert moved == {"encoder", "fusion", "decoder"} and not still
    with pytest.raises(ValueError, match="EdgeEncoder takes precomputed features"):
        load(str(best)).caption(*PAIR)
