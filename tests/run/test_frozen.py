"""Frozen weights that are loaded from elsewhere: checkpoints name them, and registered models carry them."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from idc_data.readers import open_reader
from idc_models.checkpoint import open_checkpoint, read_checkpoint
from idc_models.contract import Encoder
from idc_models.frozen import frozen_weights, without_frozen
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from idc_run.console import Console
from idc_run.tracking.registry import packaged
from idc_run.training import experiment
from idc_run.training.data import open_data
from idc_run.training.fit import fit
from idc_run.training.ready import build
from idc_run.training.start import open_start

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

CPU = torch.device("cpu")
FROZEN = {f"encoder.{name}" for name in ("eyes.weight", "eyes.bias", "norm.weight", "norm.bias", "norm.running_mean",
          "norm.running_var", "norm.num_batches_tracked")}  # fmt: skip


class Loaded(Encoder):
    """Sees with frozen weights of a file, and learns what to make of it."""

    def __init__(self, *, weights: str | None = None, frozen: bool = True) -> None:
        super().__init__()
        self.dim, self.weights = 4, weights
        self.eyes, self.norm = nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4)
        self.eyes.requires_grad_(not frozen)
        self.norm.requires_grad_(not frozen)
        self.learns, self.more = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, image):
        return self.learns(self.norm.eval()(self.eyes(image)).permute(0, 2, 3, 1))

    def origin(self):
        return self.weights

    def load_pretrained(self):
        if self.weights:
            for name, part in (("eyes", self.eyes), ("norm", self.norm)):
                given = load_file(self.weights)
                part.load_state_dict({key.split(".")[1]: value for key, value in given.items() if key.startswith(name)})


@pytest.fixture
def make(spec, tmp_path, monkeypatch):
    """Make a spec whose encoder loads its weights from `eyes.safetensors`."""
    monkeypatch.setitem(sys.modules, "loaded", sys.modules[__name__])
    torch.manual_seed(7)
    state = {name: value for name, value in Loaded().state_dict().items() if name.startswith(("eyes", "norm"))}
    save_file({name: value.float() + 0.1 if "num" not in name else value for name, value in state.items()},
              tmp_path / "eyes.safetensors")  # fmt: skip
    path = tmp_path / "eyes.safetensors"

    def make(*overrides, **settings):
        given = ", ".join(f"{name}: {value}" for name, value in {"weights": path, **settings}.items())
        return spec(f"model.encoder={{name: 'loaded:Loaded', {given}}}", *overrides)

    return make


def trained(made, folder, start=None, resume=None):
    """Train for its epochs without scores; give the model and the checkpoint."""
    folder.mkdir(exist_ok=True)
    data = open_data(made, start and start.tokenizer)
    model = build(made, data.tokenizer, CPU, start, pretrained=resume is None)
    watcher = type("Watcher", (), {"step": lambda *_: None, "epoch": lambda *_: None})()
    fit(model, open_reader(made.data.dataset, "train", image_size=32), data.tokenizer, made, device=CPU, folder=folder,
        validate=lambda: {"val/cider": 1.0, "val/loss": 1.0}, watcher=watcher, resume=resume)  # fmt: skip
    return model, folder / "last.safetensors"


def names(path):
    with safe_open(path, "pt") as file:
        return {name.removeprefix("model/") for name in file.keys() if name.startswith("model/")}  # noqa: SIM118


def test_a_checkpoint_names_what_is_frozen_and_loads_it_again(make, tmp_path):
    model, path = trained(make("train.epochs=1"), tmp_path / "run")
    assert names(path) == model.state_dict().keys() - FROZEN
    assert load_checkpoint(path).frozen["encoder"].origin == str(tmp_path / "eyes.safetensors")
    for again in (load_checkpoint(path).build(), read_checkpoint(path).model):
        assert all(value.equal(model.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.slow
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(make, tmp_path):
    whole, _ = trained(make("train.epochs=2", "train.schedule.name=constant"), tmp_path / "whole")
    _, last = trained(make("train.epochs=1", "train.schedule.name=constant"), tmp_path / "half")
    second = make("train.epochs=2", "train.schedule.name=constant")
    both, path = trained(second, tmp_path / "half", resume=load_checkpoint(last))
    assert all(value.equal(whole.state_dict()[name]) for name, value in both.state_dict().items())
    assert not names(path) & FROZEN


def test_frozen_weights_are_hashed_once_and_one_that_changes_is_kept(monkeypatch):
    part = Loaded(weights="somewhere")
    frozen = {"encoder": frozen_weights(part)}
    hashed = []
    real = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data: hashed.append(1) or real(data))

    def kept():
        return without_frozen({f"encoder.{name}": value for name, value in part.state_dict().items()}, frozen)[0].keys()

    trained = kept()
    assert trained == {f"encoder.{name}" for name in part.state_dict()} - FROZEN and len(hashed) == len(FROZEN)
    part.learns.weight.data += 1
    assert kept() == trained and len(hashed) == len(FROZEN)
    part.norm.running_mean.data[2] += 1e-6
    part.norm.num_batches_tracked += 1
    assert kept() == trained | {"encoder.norm.running_mean", "encoder.norm.num_batches_tracked"}


@pytest.mark.slow
def test_what_trains_is_kept_whole(make, tmp_path):
    for settings in ({"frozen": "false"}, {"weights": "null"}):
        model, path = trained(make("train.epochs=1", **settings), tmp_path / "run")
        assert names(path) == model.state_dict().keys() and not load_checkpoint(path).frozen


@pytest.mark.slow
def test_a_run_begins_with_a_part_whose_weights_are_named_only(make, tmp_path):
    model, path = trained(make("train.epochs=1"), tmp_path / "first")
    begun = make("train.epochs=1", f"train.start={{checkpoint: {path}, parts: [encoder]}}")
    start = open_start(begun.train.start, 40)
    assert build(begun, open_data(begun).tokenizer, CPU, start).encoder.eyes.weight.equal(model.encoder.eyes.weight)
    assert not names(trained(begun, tmp_path / "second", start)[1]) & FROZEN


def test_weights_that_are_gone_or_are_others_are_one_line(make, tmp_path):
    file = tmp_path / "eyes.safetensors"
    _, path = trained(make("train.epochs=1"), tmp_path / "run")
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    for told in ("weights now differ", "cannot be loaded"):
        for read in (read_checkpoint, lambda path: load_checkpoint(path).build()):
            with pytest.raises(ValueError, match=told) as caught:
                read(path)
            said = str(caught.value)
            assert "\n" not in said and "encoder" in said and str(file) in said and "registered model" in said
        file.unlink(missing_ok=True)


@pytest.mark.slow
def test_damaged_metadata_are_one_line(make, tmp_path):
    _, path = trained(make("train.epochs=1"), tmp_path / "run")
    contents = open_checkpoint(path)
    other = {"encoder": {"origin": "a", "sha256": {"no.such": "0"}}}, {"eye": {"origin": "a", "sha256": {}}}
    for text in ("[]", "{", '{"encoder": 3}', *map(json.dumps, other)):
        save_file(dict(contents.tensors), path, {**contents.metadata, "frozen": text})
        for read in (read_checkpoint, lambda path: load_checkpoint(path).build()):
            with pytest.raises(ValueError) as caught:
                read(path)
            assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_registered_model_carries_all_weights(make, tmp_path):
    model, path = trained(make("train.epochs=1"), tmp_path / "run")
    (tmp_path / "eyes.safetensors").rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ValueError, match="cannot be loaded"), packaged(path):
        pass
    (tmp_path / "elsewhere.safetensors").rename(tmp_path / "eyes.safetensors")
    with packaged(path) as package:
        (tmp_path / "eyes.safetensors").unlink()
        served = read_checkpoint(Path(package["artifacts"]["checkpoint"])).model
    kept = model.state_dict()
    assert all(value.equal(kept[name]) for name, value in served.state_dict().items())


@pytest.mark.slow
def test_the_whole_experiment_runs(make):
    path = experiment.run(make("train.epochs=1"), Console(quiet=True)).checkpoint
    assert not names(path) & FROZEN and load_checkpoint(path).description
    save_checkpoint(path, load_checkpoint(path).self_contained())
    assert isinstance(load_checkpoint(path), Checkpoint) and names(path) >= FROZEN
