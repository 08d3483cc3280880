import sys

import pytest
import torch
from idc_models import ModelSpec, build_captioner, complete_objectives
from idc_models.contract import Encoder
from pydantic import ValidationError

SPEC = ModelSpec.model_validate({"encoder": "cnn", "fusion": "concat", "decoder": {"name": "gru", "dim": 16}})


def test_completed_writes_out_every_default():
    completed = SPEC.completed()
    assert completed.model_dump() == {
        "encoder": {"name": "cnn", "widths": [32, 64, 128], "blocks": 1, "weights": None},
        "fusion": {"name": "concat", "dim": 256, "kernel": 1, "layers": 1},
        "decoder": {"name": "gru", "dim": 16, "dropout": 0.1},
    }
    assert completed.completed() == completed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": "gruu"}, "unknown decoder 'gruu'; did you mean 'gru'"),
        ({"decoder": {"name": "gru", "dims": 3}}, "unknown setting 'dims'; did you mean 'dim'"),
        ({"encoder": {"name": "cnn", "widths": "wide"}}, "setting 'widths' is 'wide'"),
        ({"encoder": {"blocks": 2}}, "encoder.name"),
        ({"speaker": "gru"}, "speaker"),
    ],
)
def test_mistakes_are_found_before_anything_is_built(change, message):
    given = {"encoder": "cnn", "fusion": "concat", "decoder": "gru"}
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate(given | change)


def test_objectives():
    assert complete_objectives({"caption": 1, "cosine": {"weight": 0.1}}) == {
        "caption": {"weight": 1.0, "label_smoothing": 0.0},
        "cosine": {"weight": 0.1},
    }


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"captoin": 1.0}, "unknown objective 'captoin'; did you mean 'caption'"),
        ({"caption": {"label_smoothing": 0.1}}, "objective 'caption': its weight is None"),
        ({"caption": -1}, "objective 'caption': its weight is -1"),
        ({"caption": {"weight": 1, "smoothing": 0.1}}, "unknown setting 'smoothing'; did you mean 'label_smoothing'"),
        ({}, "at least one"),
        ({"caption": 0}, "at least one"),
    ],
)
def test_wrong_objectives(objectives, message, vocab):
    with pytest.raises(ValueError, match=message):
        build_captioner(SPEC, vocab, objectives)


def test_build(vocab, batch):
    captioner = build_captioner(SPEC, vocab, {"caption": 1.0})
    assert captioner.fusion.memory_dim == 256
    assert captioner.loss(batch)["loss"].isfinite()


def test_build_on_meta(vocab):
    with torch.device("meta"):
        captioner = build_captioner(SPEC, vocab, {"caption": 1.0}, pretrained=False)
    assert all(parameter.is_meta for parameter in captioner.parameters())


class Downloading(Encoder):
    """An encoder whose pre-trained weights are ones."""

    def __init__(self, *, dim: int = 4):
        super().__init__()
        self.dim = dim
        self.scale = torch.nn.Parameter(torch.zeros(dim))

    def forward(self, image):
        return image.mean(1)[..., None] * self.scale

    def load_pretrained(self):
        torch.nn.init.ones_(self.scale)


def test_pretrained_weights_are_left_out_for_a_checkpoint(vocab, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_encoders", sys.modules[__name__])
    spec = ModelSpec.model_validate({"encoder": "own_encoders:Downloading", "fusion": "difference", "decoder": "gru"})
    assert build_captioner(spec, vocab, {"caption": 1.0}).encoder.scale.sum() == 4
    assert build_captioner(spec, vocab, {"caption": 1.0}, pretrained=False).encoder.scale.sum() == 0
