"""Captions of any tokenizer are plain text wherever they come out: validation, checkpoints, load, commands, servers."""

import base64
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from idc_data.tokenizers import tokenizer_name, write_tokenizer
from idc_models import load
from idc_models.contract import Decoded, Decoder
from idc_models.spec import build_captioner
from torch import nn

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from idc_run.cli import run
from idc_run.console import Console
from idc_run.serving.caption_cli import caption
from idc_run.tracking.registry import packaged
from idc_run.training import experiment
from idc_run.training.ahead import look_ahead
from idc_run.training.data import no_change_sentences, open_data, validation_sample
from idc_run.training.predict import predict
from idc_run.training.start import open_start

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

SAID = "the large cube has moved"
PAIR = [str(Path(__file__).parents[2] / f"examples/pairs/{side}.png") for side in ("before", "after")]
SHORT = ("train.epochs=1", "data.dataset.train_pairs=8", "data.dataset.val_pairs=4", "data.dataset.test_pairs=4")


class Parrot(Decoder):
    """Says one sentence of whatever it sees."""

    def __init__(self, memory_dim, vocab):
        super().__init__(memory_dim, vocab)
        self.state_dim = 2
        self.gain = nn.Parameter(torch.full((1,), 30.0))

    def forward(self, memory, tokens):
        ids = torch.tensor(self.vocab.encode(SAID)[1:] + [self.vocab.eos_id] * 200)[: tokens.shape[1]]
        logits = torch.nn.functional.one_hot(ids, self.vocab.size).float() * self.gain
        return Decoded(logits.expand(len(tokens), -1, -1), torch.zeros(*tokens.shape, 2))


@pytest.fixture(params=["words", "bpe", pytest.param("hf", marks=pytest.mark.slow)])  # which imports transformers
def spoken(request, spec, gpt2):
    """A spec by the kind of its tokenizer, and that name."""
    given = f"{{name: hf, model: {gpt2}}}" if request.param == "hf" else request.param
    return request.param, lambda *more: spec(f"data.tokenizer={given}", "data.max_length=60", *more)


@pytest.fixture
def parrot(spoken, tmp_path, monkeypatch):
    """A checkpoint of a model that says a sentence, by each tokenizer."""
    monkeypatch.setitem(sys.modules, "parrot", sys.modules[__name__])
    made = spoken[1]("model.decoder=parrot:Parrot")
    tokenizer = open_data(made).tokenizer
    weights = build_captioner(made.model, tokenizer, made.train.objectives).state_dict()
    path = tmp_path / "parrot.safetensors"
    save_checkpoint(path, Checkpoint(made, tokenizer, weights, {}, {}, ("the cube",)))
    return path


def test_captions_are_plain_text_in_validation_and_where_a_checkpoint_is_used(spoken, parrot):
    held = load_checkpoint(parrot)
    assert tokenizer_name(held.tokenizer) == spoken[0] == held.spec.completed()["data"]["tokenizer"]["name"]
    data = open_data(held.spec, held.tokenizer)
    predictions = predict(held.build(), data.val, held.tokenizer, held.spec.data, held.spec.eval, torch.device("cpu"))
    assert {each.hypothesis for each in predictions} == {SAID}
    said = load(parrot).caption(*PAIR, beam=2)
    assert said.caption == SAID and said.changed > 0.99
    ended = CliRunner().invoke(caption, [str(parrot), *PAIR], catch_exceptions=False)
    assert ended.stdout.startswith(SAID), ended.output


@pytest.mark.slow
def test_captions_are_plain_text_in_a_served_model(parrot, tmp_path):
    import mlflow
    import pandas as pd

    before, after = (base64.b64encode(Path(side).read_bytes()).decode() for side in PAIR)
    with packaged(parrot) as package:
        mlflow.pyfunc.save_model(str(tmp_path / "model"), **package)
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert served.predict(pd.DataFrame({"before": [before], "after": [after]}))[0]["caption"] == SAID


def test_no_change_sentences_are_as_the_model_spells_them(spoken):
    made = spoken[1]("data.dataset.val_pairs=12")
    data = open_data(made)
    sentences = no_change_sentences(validation_sample(data), data.tokenizer)
    references = {text for pair in validation_sample(data) if not pair.changed for text in pair.references}
    assert sentences and set(sentences) <= references


def test_a_run_that_begins_with_a_decoder_speaks_by_its_tokenizer(spoken, spec, tmp_path):
    name, make = spoken
    made = make()
    tokenizer = open_data(made).tokenizer
    weights = build_captioner(made.model, tokenizer, made.train.objectives).state_dict()
    save_checkpoint(tmp_path / "first.safetensors", Checkpoint(made, tokenizer, weights, {}, {}))
    begun = spec(f"train.start={tmp_path / 'first.safetensors'}", "data.tokenizer=words")
    start = open_start(begun.train.start, 40)
    data = open_data(begun, start.tokenizer)
    assert write_tokenizer(data.tokenizer) == write_tokenizer(tokenizer.limited(40))
    warnings = [each for each in look_ahead(begun, data, validation_sample(data), 9) if "train.start" in each]
    assert len(warnings) == (name != "words") and all(f"tokenizer {name!r}" in each for each in warnings)


@pytest.mark.slow
def test_a_run_trains_tests_and_ends_with_any_tokenizer(spoken):
    result = experiment.run(spoken[1](*SHORT), Console(quiet=True))
    held = load_checkpoint(result.checkpoint)
    assert tokenizer_name(held.tokenizer) == spoken[0]
    assert "Ġ" not in load(result.checkpoint).caption(*PAIR).caption


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("wrds", "did you mean 'words'"),
        ("{name: bpe, sise: 9}", "did you mean 'size'"),
        ("{size: 9}", "expected a name"),
        ("{name: hf}", "model"),
    ],
)
def test_mistakes_are_one_line(tiny, given, told):
    ended = CliRunner().invoke(run, [str(tiny), "--check", "-s", f"data.tokenizer={given}"])
    assert ended.exit_code != 0 and told in ended.stderr and len(ended.stderr.strip().splitlines()) == 1
