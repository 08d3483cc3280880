import pytest
import torch
from idc_models.contract import Decoded, Decoder, Encoder, Fused, Fusion, Objective
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

OF_TRANSFORMERS = {"prefix-lm", "seq2seq-lm", "hf-vision"}  # a library that takes seconds to import
INSTALLED = [
    pytest.param(kind, name, marks=[pytest.mark.slow] if name in OF_TRANSFORMERS else [])
    for kind in KINDS
    for name in names(kind)
]


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
        self.state_dim = memory_dim
        self.embedding = nn.Embedding(vocab.size, memory_dim)
        self.output = nn.Linear(memory_dim, vocab.size)
        self.idle = nn.Parameter(torch.zeros(1))

    def forward(self, memory, tokens):
        states = self.embedding(tokens) + self.embedding(tokens).mean(1, keepdim=True) + memory.mean(1, keepdim=True)
        return Decoded(self.output(states), states)


def test_broken_promises_are_named():
    with pytest.raises(AssertionError) as caught:
        check_decoder(Peeking)
    for words in ("Peeking", "causality", "padding", "incremental", "'idle' has no gradient"):
        assert words in str(caught.value)


class Selfish(Peeking):
    """A decoder that says that captions may share memory, and wants a row for each."""

    of_memory = "memory"


def test_memory_that_cannot_be_shared_is_named():
    with pytest.raises(AssertionError, match="sharing"):
        check_decoder(Selfish)


class Mute(Decoder):
    """A decoder without `forward`."""


def test_a_crash_is_a_result():
    with pytest.raises(AssertionError, match="logits shape: NotImplementedError"):
        check_decoder(Mute)


class Stateless(Peeking):
    """A decoder that does not say how wide its states are."""

    def __init__(self, memory_dim, vocab):
        super().__init__(memory_dim, vocab)
        del self.state_dim


def test_a_decoder_publishes_the_width_of_its_states():
    with pytest.raises(AssertionError, match="state_dim.* not set: 16"):
        check_decoder(Stateless)


class Pooled(Objective):
    """An objective over the states, whose author takes them to be as wide as the memory, or is right about it."""

    def __init__(self, widths, vocab, *, width: str = "state"):
        super().__init__(widths, vocab)
        self.score = nn.Linear(getattr(widths, width), 1)

    def forward(self, outputs):
        return self.score(outputs.decoded.states).square().mean(1).where(outputs.lengths[:, None] > 0, 0).mean()


def test_a_width_taken_for_another_does_not_pass():
    with pytest.raises(AssertionError, match="scalar: RuntimeError: .*mat1 and mat2 shapes"):
        check_objective(Pooled, width="memory")


class Joint(Encoder):
    """An encoder that looks at both images together, and at none alone."""

    def __init__(self, *, dim: int = 24):
        super().__init__()
        self.dim = dim
        self.patches = nn.Conv2d(6, 2 * dim, 16, stride=16)

    def pair(self, before, after):
        grid = self.patches(torch.cat([before, after], dim=1)).permute(0, 2, 3, 1)
        return grid[..., : self.dim], grid[..., self.dim :]


def test_an_encoder_may_look_at_both_images_together():
    check_encoder(Joint)


class Telling(Fusion):
    """A fusion with an extra that only objectives see, and a parameter for it."""

    def __init__(self, visual_dim, *, rows: str = "batch"):
        super().__init__(visual_dim)
        self.memory_dim, self.rows = visual_dim, rows
        self.mix, self.extra = nn.Linear(visual_dim, visual_dim), nn.Linear(visual_dim, 3)

    def forward(self, before, after):
        extra = self.extra(after).flatten(1, 2)
        memory = self.mix(after - before).flatten(1, 2)
        return Fused(memory, extras={"seen": extra if self.rows == "batch" else extra.mean(0)})


class Forgetful(Fusion):
    """A fusion that does not know which image came first, and divides by how much they differ."""

    def __init__(self, visual_dim):
        super().__init__(visual_dim)
        self.memory_dim = visual_dim
        self.mix = nn.Linear(visual_dim, visual_dim)

    def forward(self, before, after):
        size = (after - before).abs()
        return Fused(self.mix(size / size.mean((1, 2, 3), keepdim=True)).flatten(1, 2))


def test_a_fusion_sees_order_and_bears_identical_images():
    with pytest.raises(AssertionError, match="order: .*unchanged: "):
        check_fusion(Forgetful)


class Swapped(Fusion):
    """A fusion that takes height for width."""

    def __init__(self, visual_dim):
        super().__init__(visual_dim)
        self.memory_dim = visual_dim
        self.mix = nn.Linear(visual_dim, visual_dim)

    def forward(self, before, after):
        return Fused(self.mix(after - before).flatten(1, 2), grid=(before.shape[2], before.shape[1]))


def test_a_fusion_does_not_take_height_for_width():
    with pytest.raises(AssertionError, match="oblong: a grid of 2 x 7 cells yields grid=\\(7, 2\\)"):
        check_fusion(Swapped)


class Listening(Objective):
    """An objective over that extra."""

    def __init__(self, widths, vocab):
        super().__init__(widths, vocab)
        self.shift = nn.Parameter(torch.ones(3))

    def forward(self, outputs):
        return (outputs.extra("seen") + self.shift).square().mean()


def test_extras_of_a_fusion_reach_the_objective_that_asks():
    check_fusion(Telling)
    check_objective(Listening, fusion=Telling)
    with pytest.raises(AssertionError, match="extra 'seen' is .*expected the batch first"):
        check_fusion(Telling, rows="mean")
    with pytest.raises(AssertionError, match="needs the extra 'seen'"):
        check_objective(Listening)
    with pytest.raises(ValueError, match="only an objective"):
        check("decoder", "gru", fusion="concat")


class Contrast(Objective):
    """An objective that compares a pair with the others, and divides by their number."""

    def forward(self, outputs):
        memory = outputs.fused.memory.mean(1)
        return (memory @ memory.T).triu(1).square().sum() / (len(memory) - 1)


def test_a_batch_of_one_is_a_batch():
    with pytest.raises(AssertionError, match="single: .*not finite"):
        check_objective(Contrast)
