"""Language models as decoders from the spec to what is served, with tiny random weights on disk."""

import shutil
from pathlib import Path

import pytest
import torch
from idc_data.readers import open_reader
from idc_models import load
from idc_models.checkpoint import read_checkpoint
from safetensors.torch import load_file

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.tracking.registry import packaged
from idc_run.training import experiment
from idc_run.training.data import open_data
from idc_run.training.fit import fit
from idc_run.training.ready import build

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow")]
transformers = pytest.importorskip("transformers")

PAIR = [str(Path(__file__).parents[2] / f"examples/pairs/{side}.png") for side in ("before", "after")]
SHORT = ("train.epochs=1", "data.dataset.train_pairs=12", "data.dataset.val_pairs=4", "data.dataset.test_pairs=4")
SIZES = {
    "prefix-lm": transformers.LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                          num_attention_heads=2, vocab_size=400),
    "seq2seq-lm": transformers.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=1, num_heads=2,
                                        vocab_size=400, decoder_start_token_id=0),
}  # fmt: skip


@pytest.fixture
def lm(gpt2, tmp_path):
    """Make the folder of a language model with the tokenizer of GPT-2, whose one special token begins and ends."""

    def lm(decoder):
        folder = shutil.copytree(gpt2, tmp_path / decoder)
        auto = transformers.AutoModelForSeq2SeqLM if decoder == "seq2seq-lm" else transformers.AutoModelForCausalLM
        torch.manual_seed(1)
        auto.from_config(SIZES[decoder]).save_pretrained(folder)
        return folder

    return lm


def settings(decoder, folder, more=""):
    chosen = f"model.decoder={{name: {decoder}, model: {folder}, rank: 2{more}}}"
    return f"data.tokenizer={{name: hf, model: {folder}}}", chosen


@pytest.mark.parametrize("decoder", SIZES)
def test_it_trains_tests_and_is_served_without_the_folder_it_came_from(decoder, spec, lm):
    folder = lm(decoder)
    more = ", prompt: 'what changed?', prefix: 2" if decoder == "prefix-lm" else ""
    path = experiment.run(spec(*settings(decoder, folder, more), *SHORT), Console(quiet=True)).checkpoint
    kept = {name for name in load_file(path) if name.startswith("model/decoder.lm.")}
    assert kept and all("lora_" in name for name in kept)
    said = load(path).caption(*PAIR).caption
    with packaged(path) as package:
        assert {"transformers", "peft"} <= {pin.partition("==")[0] for pin in package["pip_requirements"]}
        shutil.rmtree(folder)
        served = package["artifacts"]["checkpoint"]
        assert load(served).caption(*PAIR).caption == said
    with pytest.raises(ValueError, match="no folder") as caught:
        read_checkpoint(path)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(spec, lm, tmp_path):
    chosen = settings("prefix-lm", lm("prefix-lm"), ", dropout: 0.1")

    def trained(name, epochs, resume=None):
        made = spec(*chosen, *SHORT, f"train.epochs={epochs}", "train.schedule.name=constant")
        data, folder = open_data(made), tmp_path / name
        folder.mkdir(exist_ok=True)
        model = build(made, data.tokenizer, torch.device("cpu"), None, pretrained=resume is None)
        watcher = type("Watcher", (), {"step": lambda *_: None, "epoch": lambda *_: None})()
        fit(model, open_reader(made.data.dataset, "train", image_size=32), data.tokenizer, made,
            device=torch.device("cpu"), folder=folder, validate=lambda: {"val/cider": 1.0, "val/loss": 1.0},
            watcher=watcher, resume=resume)  # fmt: skip
        return model.state_dict(), folder / "last.safetensors"

    whole, _ = trained("whole", 2)
    _, half = trained("halves", 1)
    both, _ = trained("halves", 2, load_checkpoint(half))
    assert all(value.equal(both[name]) for name, value in whole.items())


def test_a_tokenizer_of_another_kind_is_an_error(spec, lm):
    folder = lm("prefix-lm")
    _, decoder = settings("prefix-lm", folder)
    with pytest.raises(ValueError, match="tokenizer is not that of the language model .*name: hf, model"):
        experiment.check(spec(decoder), Console(quiet=True))


def test_a_folder_that_is_not_there_is_an_error_of_the_spec(spec, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="decoder 'prefix-lm'.*neither a folder with a config.json"):
        spec("model.decoder={name: prefix-lm, model: nowhere/at-all}")
