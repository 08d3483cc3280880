import sys

import pytest
import torch
from idc_models import ModelSpec, build_captioner, complete_objectives
from idc_models.decoders.recurrent import GruDecoder
from idc_models.encoders.cnn import CnnEncoder
from idc_models.fusions import Concat
from idc_models.objectives import Caption
from pydantic import ValidationError

SPEC = ModelSpec.model_validate({"encoder": "cnn", "fusion": "concat", "decoder": {"name": "gru", "dim": 16}})


def test_completed_writes_out_every_default():
    completed = SPEC.completed()
    assert completed.model_dump() == {
        "encoder": {
            "name": "cnn",
            "widths": [32, 64, 128],
            "blocks": 1,
            "weights": None,
            "frozen": False,
            "coordinates": False,
        },
        "fusion": {"name": "concat", "dim": 256, "kernel": 1, "layers": 1, "coordinates": False},
        "decoder": {"name": "gru", "dim": 16, "dropout": 0.1},
    }
    assert completed.completed() == completed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": "gruu"}, "unknown decoder 'gruu'; did you mean 'gru'"),
        ({"decoder": {"name": "gru", "dims": 3}}, "unknown setting 'dims'; did you mean 'dim'"),
        ({"encoder": {"name": "cnn", "widths": "wide"}}, "widths is 'wide'"),
        ({"encoder": {"blocks": 2}}, "encoder.name"),
        ({"speaker": "gru"}, "speaker"),
        ({"decoder": "dynamic-speaker"}, "a memory of 3 slots, but fusion 'concat' .*: .*duda"),
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


@pytest.mark.parametrize("pretrained", [True, False])
def test_pretrained_weights_of_every_part_are_loaded_but_not_before_a_checkpoint(vocab, monkeypatch, pretrained):
    parts, loaded = (CnnEncoder, Concat, GruDecoder, Caption), []
    for part in parts:
        monkeypatch.setattr(part, "load_pretrained", lambda self: loaded.append(type(self)))
    build_captioner(SPEC, vocab, {"caption": 1.0}, pretrained=pretrained)
    assert loaded == [*parts] * pretrained


def test_a_model_to_caption_with_needs_no_objective(vocab, batch):
    built = build_captioner(SPEC, vocab, None).eval()
    assert len(built.objectives) == 0
    assert len(built.generate(batch.before, batch.after).tokens) == 3


class Stateless(GruDecoder):
    """A decoder that does not say how wide its states are."""

    def __init__(self, memory_dim, vocab):
        super().__init__(memory_dim, vocab, dim=8)
        del self.state_dim


def test_a_decoder_that_is_trained_says_how_wide_its_states_are(vocab, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_decoders", sys.modules[__name__])
    spec = SPEC.model_validate(SPEC.model_dump() | {"decoder": "own_decoders:Stateless"})
    with pytest.raises(ValueError, match=r"'own_decoders:Stateless'.*state_dim"):
        build_captioner(spec, vocab, {"caption": 1.0})
    build_captioner(spec, vocab, None)  # as an old checkpoint is, to caption with it
