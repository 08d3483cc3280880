"""Checkpoints that are damaged or foreign: one line that says what is wrong, and no memory taken for it."""

import json
import resource
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import pytest
import torch
from idc_data.tokenizers import write_tokenizer
from idc_data.tokenizers.words import Words
from idc_models.checkpoint import read_checkpoint
from idc_models.serving.inference import PairCaptioner
from idc_models.spec import ModelSpec, build_captioner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from idc_run.checkpoint import load_checkpoint

SPEC = {
    "name": "tiny",
    "model": {
        "encoder": {"name": "cnn", "widths": [8, 8]},
        "fusion": {"name": "concat", "dim": 16},
        "decoder": {"name": "transformer", "dim": 16, "layers": 1, "heads": 2},
    },
    "data": {"image_size": 32},
    "eval": {"beam": 1, "length_penalty": 0.0},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint of a small model with fresh weights."""
    tokenizer = Words.train(["the cube moved", "nothing has changed"], max_length=9)
    model = build_captioner(ModelSpec.model_validate(SPEC["model"]), tokenizer, {"caption": 1.0})
    metadata = {
        "format": "idc-checkpoint/1",
        "spec": json.dumps(SPEC),
        "tokenizer": write_tokenizer(tokenizer),
        "progress": "{}",
        "unchanged": '["nothing has changed"]',
    }
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    save_file({f"model/{name}": value for name, value in model.state_dict().items()}, path, metadata)
    return path


@pytest.fixture
def damaged(whole, tmp_path):
    """Writes the checkpoint with other metadata (None: without) and other weights."""

    def write(metadata=None, change=lambda tensors: None):
        with safe_open(whole, "pt") as file:
            known = file.metadata() | (metadata or {})
        tensors = load_file(whole)
        change(tensors)
        path = tmp_path / "bad.safetensors"
        save_file(tensors, path, {name: text for name, text in known.items() if text is not None})
        return path

    return write


@contextmanager
def at_most(num):
    """Let this process take no more than so many further bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + num, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def refused(path, read=read_checkpoint):
    with at_most(2_000_000_000), pytest.raises(ValueError, match=r"bad\.safetensors") as caught:
        read(path)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.parametrize("read", [read_checkpoint, load_checkpoint])
@pytest.mark.parametrize("name", ["spec", "tokenizer"])
@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", "null", "{}", "[" * 100_000])
def test_metadata_that_lack_something_are_refused(damaged, name, text, read):
    refused(damaged({name: text}), read)


@pytest.mark.parametrize("text", [None, "", "[]", "[" * 100_000])
def test_only_training_needs_its_progress(damaged, text):
    path = damaged({"progress": text})
    assert "'progress' in its metadata" in refused(path, load_checkpoint) or text is None
    read_checkpoint(path)


def test_weights_that_are_no_numbers_are_refused(damaged):
    def spoil(tensors):
        tensors["model/decoder.output.bias"][0] = float("nan")

    assert "decoder.output.bias" in (said := refused(damaged(change=spoil))) and "diverged" in said


def test_a_mask_of_minus_infinity_is_no_damage(damaged):
    def mask(tensors):
        tensors["model/decoder.output.bias"][0] = -torch.inf

    read_checkpoint(damaged(change=mask))


@pytest.mark.parametrize("text", ["", "{}", '["a sphere"]', "[7]"])
def test_no_change_sentences_that_it_cannot_say_are_refused(damaged, text):
    refused(damaged({"unchanged": text}))


def with_setting(path, value):
    spec = json.loads(json.dumps(SPEC))
    *sections, last = path.split(".")
    reduce(dict.__getitem__, sections, spec)[last] = value
    return {"spec": json.dumps(spec)}


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("data.image_size", 10**6, "data.image_size is 1000000: expected at most 4096"),
        ("data.image_size", "32", "data.image_size is '32': expected a whole number"),
        ("data", {}, "data.image_size is missing"),
        ("eval.beam", 10**6, "eval.beam"),
        ("eval.beam", 0, "eval.beam"),
        ("eval.length_penalty", "long", "eval.length_penalty"),
        ("model", None, "model"),
        ("model.encoder", "hal", "unknown encoder 'hal'"),
        ("model.decoder.name", "gone.module:Decoder", "cannot be imported"),
        ("model.encoder.widths", [8, 16], "such as encoder.layers.3"),
        ("model.encoder.widths", [8, 10**6], "of another shape"),
        ("model.encoder.widths", [8] * 10**5, "far more than the file holds"),
        ("model.fusion.dim", 10**6, "of another shape"),
        ("model.decoder.dim", 10**6, "of another shape"),
        ("model.decoder.layers", 10**6, "far more than the file holds"),
        ("model.decoder.layers", 2, "missing, such as decoder.layers.1"),
        ("model.decoder.name", "gru", "unknown setting"),
        ("model.decoder", {"name": "gru", "dim": 16}, "unknown, such as decoder.layers.0"),
    ],
)
def test_a_spec_that_its_weights_do_not_fit_is_refused(damaged, setting, value, message):
    assert message in refused(damaged(with_setting(setting, value)))


@pytest.mark.parametrize("max_length", [10**6, "9", None, -1])
def test_captions_of_a_million_tokens_are_refused(damaged, whole, max_length):
    with safe_open(whole, "pt") as file:
        tokenizer = json.loads(file.metadata()["tokenizer"])
    tokenizer["max_length"] = max_length
    assert "max_length" in refused(damaged({"tokenizer": json.dumps(tokenizer)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model/decoder.output.bias"), "missing decoder.output.bias"),
        (lambda tensors: tensors.update({"model/more": torch.zeros(2)}), "unknown more"),
        (lambda tensors: tensors.clear(), "missing, such as decoder.embedding.weight"),
        (
            lambda tensors: tensors.update({"model/decoder.output.bias": torch.zeros(3)}),
            "of another shape decoder.output.bias [3] for [10]",
        ),
    ],
)
def test_other_weights_are_refused(damaged, change, message):
    assert message in refused(damaged(change=change))


def test_half_precision_is_read_as_whole(damaged):
    def halve(tensors):
        tensors |= {name: value.half() for name, value in tensors.items() if value.is_floating_point()}

    model = read_checkpoint(damaged(change=halve)).model
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_what_training_keeps_beside_the_model_is_not_read(damaged):
    path = damaged(change=lambda tensors: tensors.update({"training/optimizer/0/step": torch.zeros(1)}))
    PairCaptioner(path)
    assert load_checkpoint(path).training.keys() == {"optimizer/0/step"}
