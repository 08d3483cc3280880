import pytest
import torch
from idc_models.contract import Decoded, Decoder
from idc_models.decoders.recurrent import GruDecoder
from idc_models.decoders.transformer import TransformerDecoder
from idc_models.encoders.cnn import CnnEncoder
from idc_models.encoders.timm import TimmEncoder
from idc_models.encoders.torchvision import TorchvisionEncoder
from idc_models.fusions import Concat, Difference
from idc_models.objectives import Caption
from idc_models.registry import KINDS, names
from idc_models.testing import check, check_decoder, check_encoder, check_fusion, check_objective
from torch import nn

INSTALLED = [(kind, name) for kind in KINDS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), INSTALLED)
def test_every_installed_plugin_keeps_the_contract(kind, name):
    results = check(kind, name)
    assert len(results) >= 6
    assert [result for result in results if result.error] == []


@pytest.mark.parametrize(
    ("suite", "plugin", "settings"),
    [
        (check_encoder, CnnEncoder, {"widths": (8, 16), "blocks": 2}),
        (check_encoder, TimmEncoder, {"backbone": "test_vit", "img_size": 64, "level": -1}),
        (check_encoder, TimmEncoder, {"backbone": "mobilenetv3_small_050", "frozen": True}),
        (check_encoder, TorchvisionEncoder, {"backbone": "efficientnet_b0", "frozen": True}),
        (check_fusion, Difference, {"dim": None, "layers": 1}),
        (check_fusion, Concat, {"dim": 24, "kernel": 3, "layers": 2}),
        (check_decoder, GruDecoder, {"dim": 20, "dropout": 0.0}),
        (check_decoder, TransformerDecoder, {"dim": 24, "layers": 1, "heads": 3, "tied": True}),
        (check_objective, Caption, {"label_smoothing": 0.1}),
    ],
)
def test_settings_keep_the_contract(suite, plugin, settings):
    suite(plugin, **settings)


class Peeking(Decoder):
    """A decoder that breaks several promises: it sees the whole caption, and has a parameter without use."""

    def __init__(self, memory_dim, vocab):
        super().__init__(memory_dim, vocab)
        self.embedding = nn.Embedding(vocab.size, memory_dim)
        self.output = nn.Linear(memory_dim, vocab.size)
        self.idle = nn.Parameter(torch.zeros(1))

    def forward(self, memory, tokens):
        states = self.embedding(tokens) + self.embedding(tokens).mean(1, keepdim=True) + memory.mean(1, keepdim=True)
        return Decoded(self.output(states), states)


def test_broken_promises_are_named():
    with pytest.raises(AssertionError) as caught:
        check_decoder(Peeking)
    for words in ("Peeking", "causality", "padding", "incremental", "'idle' gets no gradient"):
        assert words in str(caught.value)


class Mute(Decoder):
    """A decoder without `forward`."""


def test_a_crash_is_a_result():
    with pytest.raises(AssertionError, match="logits shape: NotImplementedError"):
        check_decoder(Mute)
