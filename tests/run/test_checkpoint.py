import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from idc_data.tokenizers import write_tokenizer
from idc_data.tokenizers.words import Words
from idc_models.serving.inference import PairCaptioner
from idc_models.spec import build_captioner
from safetensors import SafetensorError
from safetensors.torch import save_file

from idc_run.checkpoint import Checkpoint, load_checkpoint, restore_training, save_checkpoint, training_state
from idc_run.spec import OptimizerSpec
from idc_run.training.optim import build_optimizer

WRITE_FOREVER = """
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
import torch
from idc_run.checkpoint import load_checkpoint, save_checkpoint

path = Path(sys.argv[1])
checkpoint = load_checkpoint(path)
for number in count(1):
    training = {str(part): torch.full((2_000_000,), float(number)) for part in range(8)}
    save_checkpoint(path, replace(checkpoint, training=training, progress={"step": number}))
"""


@pytest.fixture
def made(spec):
    """Gives a checkpoint of a model with fresh weights, for a spec with overrides."""

    def make(*overrides):
        torch.manual_seed(0)
        tokenizer = Words.train(["the red cube moved", "nothing has changed"], max_length=8)
        chosen = spec(*overrides)
        model = build_captioner(chosen.model, tokenizer, chosen.train.objectives)
        return Checkpoint(chosen, tokenizer, model.state_dict(), {"step": 7, "best": 0.1, "run_id": "a"}, {})

    return make


def same(mine, theirs):
    return mine.keys() == theirs.keys() and all(
        torch.equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine
    )


def test_a_checkpoint_comes_back_whole(tmp_path, made):
    checkpoint = made()
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.spec.completed() == checkpoint.spec.completed()
    assert write_tokenizer(loaded.tokenizer) == write_tokenizer(checkpoint.tokenizer)
    assert loaded.progress == checkpoint.progress and loaded.training == {}
    assert same(loaded.weights, checkpoint.weights)
    assert same(loaded.build().state_dict(), checkpoint.weights)
    assert [path.name for path in tmp_path.glob("*a.safetensors*")] == ["a.safetensors"]


def test_the_file_is_safetensors_and_no_pickle(tmp_path, made):
    save_checkpoint(tmp_path / "a.safetensors", made())
    written = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(written[8 : 8 + int.from_bytes(written[:8], "little")])
    assert header["__metadata__"]["format"] == "idc-checkpoint/1"
    assert {name.partition("/")[0] for name in header} == {"__metadata__", "model"}


def test_tied_weights_stay_tied(tmp_path, made):
    checkpoint = made("model.decoder.tied=true")
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    model = load_checkpoint(tmp_path / "a.safetensors").build()
    assert same(model.state_dict(), checkpoint.weights)
    assert len(list(model.parameters())) < len(list(model.named_parameters(remove_duplicate=False)))


@pytest.mark.parametrize("name", ["adamw", "adam", "muon"])
def test_the_optimizer_comes_back(tmp_path, made, name):
    checkpoint = made()

    def trained(optimizer, model, steps):
        torch.manual_seed(steps)
        for _ in range(steps):
            optimizer.zero_grad()
            sum((p * torch.rand_like(p)).sum() for p in model.parameters()).backward()
            optimizer.step()

    # Channels last, as training has it: the moments of convolutions lie in memory as their weights do.
    model, spec = checkpoint.build().to(memory_format=torch.channels_last), OptimizerSpec(name=name)
    optimizer = build_optimizer(model, spec)
    trained(optimizer, model, 2)
    saved = Checkpoint(
        checkpoint.spec, checkpoint.tokenizer, model.state_dict(), checkpoint.progress, training_state(optimizer)
    )
    save_checkpoint(tmp_path / "a.safetensors", saved)
    trained(optimizer, model, 3)

    loaded = load_checkpoint(tmp_path / "a.safetensors")
    again = loaded.build().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(again, spec)
    restore_training(optimizer, loaded.training)
    trained(optimizer, again, 3)
    assert same(again.state_dict(), model.state_dict())


def test_muon_leaves_what_has_a_row_per_word_to_adamw(made):
    model = made().build()
    matrices, words, vectors = build_optimizer(model, OptimizerSpec(name="muon")).param_groups
    assert {len(p) for p in words["params"]} == {model.decoder.vocab.size} and len(words["params"]) == 2
    assert all(p.ndim > 1 for p in matrices["params"]) and all(p.ndim <= 1 for p in vectors["params"])
    assert "use_fallback" not in matrices and words["use_fallback"] and vectors["use_fallback"]
    assert sum(len(g["params"]) for g in (matrices, words, vectors)) == len(list(model.parameters()))


@pytest.mark.parametrize("part", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path, made, part):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, made())
    written = path.read_bytes()
    path.write_bytes(written[: int(part * len(written)) if isinstance(part, float) else part])
    with pytest.raises(ValueError, match=r"a\.safetensors.*complete\?"):
        load_checkpoint(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(ValueError, match=r"foreign\.safetensors.*None.*'idc-checkpoint/1'"):
        PairCaptioner(foreign)
    with pytest.raises(ValueError, match="no checkpoint at .*gone"):
        load_checkpoint(tmp_path / "gone.safetensors")
    with pytest.raises(ValueError, match="no checkpoint at"):
        load_checkpoint(tmp_path)


def test_kill_in_mid_write_leaves_a_whole_file(tmp_path, made):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, made())
    first = path.stat().st_ino
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, path])
    deadline = time.monotonic() + 600
    while not (path.stat().st_ino != first and any(part.stat().st_size for part in unfinished(path))):
        assert time.monotonic() < deadline and writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    loaded = load_checkpoint(path)
    assert loaded.progress["step"] >= 1 and len(loaded.training) == 8
    assert all((value == loaded.progress["step"]).all() for value in loaded.training.values())
    loaded.build()


def test_a_full_disk_leaves_the_file_of_before(tmp_path, made):
    path = tmp_path / "a.safetensors"
    checkpoint = made()
    save_checkpoint(path, checkpoint)
    written = path.read_bytes()
    with at_most(len(written) // 2), pytest.raises((OSError, SafetensorError)):
        save_checkpoint(path, checkpoint)
    assert path.read_bytes() == written and not unfinished(path)


def unfinished(path):
    """The files beside it that are being written."""
    return list(path.parent.glob(f".{path.name}*"))


@contextmanager
def at_most(num):
    """Let this process write no file longer than so many bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
