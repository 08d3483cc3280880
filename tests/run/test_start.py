"""A run that begins with the weights of a trained model, and rates of single parts."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_data.tokenizers.words import Words
from idc_models.spec import build_captioner

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from idc_run.cli import run
from idc_run.console import Console
from idc_run.spec import StartSpec
from idc_run.training import experiment
from idc_run.training.ahead import look_ahead, steps_per_epoch
from idc_run.training.data import open_data, validation_sample
from idc_run.training.optim import build_optimizer
from idc_run.training.start import open_start

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

SHORT = ("train.epochs=1", "data.dataset.train_pairs=8", "data.dataset.val_pairs=4", "data.dataset.test_pairs=4")


@pytest.fixture
def trained(spec, tmp_path):
    """A checkpoint of the tiny model with weights of its own, and with fewer words than the scenes have."""
    torch.manual_seed(11)
    made = spec()
    captions = [text for pair in open_reader({"name": "scenes", "val_pairs": 40}, "val") for text in pair.references]
    known = [text for text in captions if "sphere" not in text]
    tokenizer = Words.train(known, max_length=30)
    weights = build_captioner(made.model, tokenizer, made.train.objectives).state_dict()
    path = tmp_path / "trained.safetensors"
    save_checkpoint(path, Checkpoint(made, tokenizer, weights, {}, {}))
    return path


def equal(model, path, part):
    """Whether a model has the weights of a checkpoint in one of its parts, statistics of the batch norms apart."""
    kept = load_checkpoint(path).weights
    ours = {name: value for name, value in model.state_dict().items() if name.startswith(part) and "num_" not in name}
    assert ours
    return all(value.equal(kept[name]) for name, value in ours.items() if "running" not in name)


def begin(spec, *overrides):
    """What a run would begin with."""
    made = spec(*overrides)
    start = open_start(made.train.start, made.data.max_length)
    data = open_data(made, start.tokenizer)
    model = build_captioner(made.model, data.tokenizer, made.train.objectives)
    start.give(model)
    return data.tokenizer, model


def test_a_run_begins_with_some_parts_of_another_and_keeps_those_of_no_rate(spec, trained):
    start = f"train.start={{checkpoint: {trained}, parts: [encoder, fusion]}}"
    result = experiment.run(spec(start, "train.optimizer.rates={encoder: 0}", *SHORT), Console(quiet=True))
    ended = load_checkpoint(result.checkpoint)
    assert equal(ended.build(), trained, "encoder") and not equal(ended.build(), trained, "fusion")
    assert ended.tokenizer.size > load_checkpoint(trained).tokenizer.size
    assert equal(begin(spec, start)[1], trained, "fusion")


def test_a_run_that_begins_with_a_decoder_speaks_its_words(spec, trained):
    tokenizer, model = begin(spec, f"train.start={trained}")
    assert all(equal(model, trained, part) for part in ("encoder", "fusion", "decoder"))
    before = load_checkpoint(trained).tokenizer
    assert tokenizer.size == before.size and tokenizer.encode("a cube moved") == before.encode("a cube moved")
    assert (before.max_length, tokenizer.max_length) == (30, 40)  # the limit is a setting of the new run


def test_words_that_cannot_be_learnt_are_named_with_what_to_type(spec, trained):
    begun = spec(f"train.start={trained}", "data.dataset.train_pairs=40")
    data = open_data(begun, open_start(begun.train.start, 40).tokenizer)
    warnings = look_ahead(begun, data, validation_sample(data), steps_per_epoch(begun, data))
    (told,) = [warning for warning in warnings if "train.start" in warning]
    assert "'sphere'" in told and "-s 'train.start.parts=[encoder, fusion]'" in told


def test_weights_that_do_not_fit_are_one_line_with_the_settings_that_would(tiny, trained):
    words = [str(tiny), "--check", "-s", f"train.start={trained}", "-s", "model.decoder.dim=32"]
    ended = CliRunner().invoke(run, words)
    assert ended.exit_code != 0 and len(ended.stderr.strip().splitlines()) == 1
    for told in ("train.start", "decoder", "of another shape", "'dim': 16", "train.start.parts=['encoder', 'fusion']"):
        assert told in ended.stderr


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("no/such.safetensors", "no checkpoint at 'no/such.safetensors'"),
        ("{checkpoint: scenes, parts: [eye]}", "train.start.parts"),
        ("{checkpoint: scenes, parts: []}", "train.start.parts"),
    ],
)
def test_mistakes_are_one_line(tiny, start, told):
    ended = CliRunner().invoke(run, [str(tiny), "--check", "-s", f"train.start={start}"])
    assert ended.exit_code != 0 and told in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_the_shipped_model_can_be_begun_with(tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "experiments/transformer_concat.yaml"
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(run, [str(path), "--check", "-s", "train.start=scenes", "-s", "data.workers=0"])
    assert ended.exit_code == 0, ended.output
    loss = float(ended.output.rpartition("first batch: loss ")[2].split()[0])
    assert loss < 1.5  # of random weights it is above 4


def test_a_registered_model_can_be_begun_with(registered, monkeypatch):
    monkeypatch.chdir(registered.folder)
    start = open_start(StartSpec(checkpoint="models:/idc@champion"), 40)
    kept = load_checkpoint(registered.result.checkpoint).weights
    assert start.weights and all(value.equal(kept[name]) for name, value in start.weights.items())


def test_what_is_loaded_next_is_not_fetched_before(spec, trained, monkeypatch):
    fetched = []
    for part in ("encoders.cnn:CnnEncoder", "fusions:Concat", "decoders.transformer:TransformerDecoder"):
        module, _, name = f"idc_models.{part}".partition(":")
        monkeypatch.setattr(f"{module}.{name}.load_pretrained", lambda self: fetched.append(type(self).__name__))
    experiment.check(spec(f"train.start={{checkpoint: {trained}, parts: [encoder]}}"), Console(quiet=True))
    assert fetched == ["Concat", "TransformerDecoder"]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_parts_have_rates_of_their_own(spec, name):
    made = spec(f"train.optimizer={{name: {name}, lr: 1e-2, rates: {{encoder: 0.1, decoder: 2}}}}")
    data = open_data(made)
    model = build_captioner(made.model, data.tokenizer, made.train.objectives)
    names = {parameter: name.partition(".")[0] for name, parameter in model.named_parameters()}
    scales = {"encoder": set(), "fusion": set(), "decoder": set()}
    for group in build_optimizer(model, made.train.optimizer).param_groups:
        for parameter in group["params"]:
            scales[names.pop(parameter)].add(group["scale"])
    assert scales == {"encoder": {0.1}, "fusion": {1.0}, "decoder": {2.0}}
    assert not names
