"""What --resume goes on from: damaged and foreign checkpoints are passed over with a word."""

import json
import os
from dataclasses import replace

import pytest
import torch
from idc_data.tokenizers.words import Words
from idc_models.spec import build_captioner
from safetensors import safe_open
from safetensors.torch import save_file

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, training_state
from idc_run.progress import Progress
from idc_run.training.optim import build_optimizer
from idc_run.training.unfinished import find_unfinished, make_room


@pytest.fixture
def runs(spec, tmp_path):
    """A folder with an older and a newer unfinished run of the tiny spec, and the spec."""
    made, tokenizer = spec(), Words.train(["a cube moved"] * 9, max_length=8, min_frequency=1)
    model = build_captioner(made.model, tokenizer, made.train.objectives, pretrained=False)
    optimizer = build_optimizer(model, made.train.optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    progress, folder = Progress(step=4, epoch=1, best=0.5, best_epoch=1), tmp_path / "runs"
    for at, name in enumerate(("older", "newer")):
        (folder / name).mkdir(parents=True)
        kept = Checkpoint(made, tokenizer, model.state_dict(), vars(progress) | {"run_id": name}, {})
        save_checkpoint(folder / name / "best.safetensors", kept)
        last = replace(kept, training=training_state(optimizer), progress=kept.progress | {"step": 6})
        save_checkpoint(folder / name / "last.safetensors", last)
        os.utime(folder / name / "last.safetensors", (at, at))
    return folder, made


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def without(key):
    return lambda path: _rewrite(path, lambda metadata, tensors: metadata.pop(key))


def progress(**values):
    def change(metadata, tensors):
        metadata["progress"] = json.dumps(json.loads(metadata["progress"]) | values)

    return lambda path: _rewrite(path, change)


def widths(prefix):
    def change(metadata, tensors):
        name = next(name for name in tensors if name.startswith(prefix) and tensors[name].dim() > 1)
        tensors[name] = tensors[name][:1].clone()

    return lambda path: _rewrite(path, change)


def another_spec(path):
    kept = load_checkpoint(path)
    save_checkpoint(path, replace(kept, spec=kept.spec.model_copy(update={"seed": 99})))


def _rewrite(path, change):
    with safe_open(path, "pt") as file:
        metadata, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    save_file(tensors, path, metadata)


DAMAGES = [
    truncate,
    without("spec"),
    without("tokenizer"),
    without("progress"),
    without("format"),
    progress(step="far"),
    progress(losses=3),
    widths("model/"),
    widths("training/"),
    another_spec,
    lambda path: path.write_bytes(b""),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_best_of_its_run(runs, damage):
    folder, made = runs
    said = []
    damage(folder / "newer" / "last.safetensors")
    os.utime(folder / "newer" / "last.safetensors", (9, 9))
    found = find_unfinished(folder, made, said.append)
    assert found.folder == folder / "newer" and found.checkpoint.progress["step"] == 4
    assert len(said) == 1 and said[0].startswith("skipped: ") and "newer" in said[0] and "\n" not in said[0]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(runs):
    folder, made = runs
    newest = folder / "newer" / "last.safetensors"
    make_room(folder / "newer", 2)
    kept = load_checkpoint(newest)
    save_checkpoint(newest, replace(kept, progress=kept.progress | {"step": 7}))
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1  # one bit of one weight
    newest.write_bytes(content)
    said = []
    found = find_unfinished(folder, made, said.append)
    assert found.folder == folder / "newer" and found.checkpoint.progress["step"] == 6
    assert len(said) == 1 and "checksum" in said[0]


def test_else_for_an_older_run_and_else_it_says_that_there_is_nothing(runs):
    folder, made = runs
    said = []
    found = find_unfinished(folder, made, said.append)
    assert not said and found.folder.name == "newer" and found.checkpoint.progress["step"] == 6
    truncate(folder / "newer" / "best.safetensors")
    (folder / "newer" / "last.safetensors").write_bytes(b"")
    os.utime(folder / "newer" / "last.safetensors", (9, 9))
    found = find_unfinished(folder, made, said.append)
    assert len(said) == 2 and found.folder.name == "older" and found.checkpoint.progress["step"] == 6
    for name in ("best", "last"):
        truncate(folder / "older" / f"{name}.safetensors")
    with pytest.raises(ValueError, match="nothing to resume.*--resume"):
        find_unfinished(folder, made, said.append)


def test_looking_draws_no_random_numbers(runs):
    torch.manual_seed(1)
    expected = torch.get_rng_state()
    find_unfinished(*runs, print)
    assert torch.equal(torch.get_rng_state(), expected)
