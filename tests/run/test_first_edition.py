"""What the first edition wrote (commit d77c5fa) still opens, and says what it said.

`first_edition/` has a checkpoint of that code, the spec that it was trained with and its test pairs, learned by heart;
and the losses of twenty steps of the default spec, made small.
"""

import json
from pathlib import Path

import pytest
import torch
from idc_data.loader import eval_batches
from idc_data.readers import open_reader
from idc_models.fusions.concat import Concat
from idc_models.objectives.caption import Caption
from idc_models.serving.inference import PairCaptioner

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.training import experiment

FOLDER = Path(__file__).parent / "first_edition"
CAPTIONS = [
    "the material of the small blue matte cube changed to metallic",
    "nothing has changed",
    "the large red metallic cylinder became purple",
    "the large brown metallic cylinder is no longer there",
]


@pytest.fixture(scope="module")
def kept():
    return load_checkpoint(FOLDER / "checkpoint.safetensors")


def test_its_checkpoint_gives_the_captions_that_it_gave():
    images = [[FOLDER / f"pairs/test/{pair}_{side}.png" for side in ("before", "after")] for pair in range(4)]
    captioner = PairCaptioner(FOLDER / "checkpoint.safetensors")
    for beam in (1, 3):
        assert [each.caption for each in captioner.caption([(a, b) for a, b in images], beam=beam)] == CAPTIONS


def test_its_captions_hang_on_no_rounding(kept):
    """Each token is far ahead of the second best, so that every processor gives the same captions."""
    reader = open_reader(str(FOLDER / "pairs"), "test")
    model = kept.build().eval()
    (batch,) = eval_batches(reader, kept.tokenizer, kept.spec.data)
    with torch.no_grad():
        memory = model.fuse(batch.before, batch.after).memory
        logits = model.decoder(memory, batch.tokens[:, :-1]).logits
    best, second = logits.topk(2).values.unbind(-1)
    real = batch.tokens[:, 1:] != kept.tokenizer.pad_id
    assert (logits.argmax(-1) == batch.tokens[:, 1:])[real].all()
    assert (best - second)[real].min() > 1


def test_its_spec_is_read_as_it_was(kept, monkeypatch):
    monkeypatch.chdir(FOLDER)  # where its `pairs` are
    stored, read = kept.spec.completed(), load_spec(FOLDER / "spec.yaml").completed()
    assert all(stored[section] == read[section] for section in ("model", "train", "eval"))


def test_its_names_of_our_classes_mean_the_same_classes(kept):
    model = kept.build()
    assert type(model.fusion) is Concat
    assert [type(part) for part in model.objectives.values()][0] is Caption


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("train.optimizer.lr=5.5e-3",)])
def test_twenty_steps_have_the_losses_that_they_had(tmp_path, monkeypatch, overrides):
    """Instruction sets (AVX-512, AVX2, SSE) make them differ by 2e-5, another rate by far more."""
    monkeypatch.chdir(tmp_path)
    result = experiment.run(load_spec(FOLDER / "training.yaml", overrides), Console(quiet=True))
    assert result
    losses = [loss for _, loss in load_checkpoint(result.checkpoint).progress["losses"]]
    wanted = pytest.approx(json.loads((FOLDER / "losses.json").read_text()), rel=3e-4)
    assert (losses == wanted) is (not overrides), losses
