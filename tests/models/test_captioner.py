from dataclasses import replace

import pytest
import torch
from idc_models import ModelSpec, build_captioner
from idc_models.captioner import Captioner
from idc_models.contract import Encoder, Fused, Fusion, Objective, Widths
from idc_models.decoders.recurrent import GruDecoder, LstmDecoder
from idc_models.encoders.cnn import CnnEncoder
from idc_models.fusions import Concat, ConcatDifference, Difference
from idc_models.objectives import Caption
from torch import nn

SMALL = {"name": "cnn", "widths": [8, 16]}


def small(decoder, fusion, vocab, objectives):
    spec = {
        "encoder": SMALL,
        "fusion": {"name": fusion, "dim": 16},
        "decoder": {"name": decoder, "dim": 16, "dropout": 0.0},
    }
    return build_captioner(ModelSpec.model_validate(spec), vocab, objectives)


@pytest.mark.parametrize("decoder", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("fusion", ["difference", "concat", "concat-difference"])
def test_every_parameter_is_trained(decoder, fusion, vocab, batch):
    captioner = small(decoder, fusion, vocab, {"caption": 1.0, "cosine": 0.1})
    captioner(batch)["loss"].backward()
    still = [name for name, parameter in captioner.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


def test_total_is_the_weighted_sum(vocab, batch):
    losses = small("gru", "concat", vocab, {"caption": 2.0, "cosine": 0.5}).loss(batch)
    assert losses.keys() == {"loss", "caption", "cosine"}
    torch.testing.assert_close(losses["loss"], 2 * losses["caption"] + 0.5 * losses["cosine"])


def test_captions_share_the_memory_of_their_pair(vocab, batch):
    captioner = small("gru", "concat", vocab, {"caption": 1.0}).eval()
    order = torch.tensor([3, 1, 0, 2])
    shuffled = replace(batch, tokens=batch.tokens[order], lengths=batch.lengths[order], pair=batch.pair[order])
    torch.testing.assert_close(captioner.loss(shuffled)["loss"], captioner.loss(batch)["loss"])
    wrong = replace(batch, pair=torch.tensor([1, 1, 2, 0]))
    assert not torch.isclose(captioner.loss(wrong)["loss"], captioner.loss(batch)["loss"])


def test_bytes_and_floats_are_the_same_images(vocab, batch):
    captioner = small("gru", "concat", vocab, {"caption": 1.0}).eval()
    memory = captioner.fuse(batch.before.float() / 255, batch.after.float() / 255).memory
    torch.testing.assert_close(captioner.fuse(batch.before, batch.after).memory, memory)


@pytest.mark.parametrize("training", [True, False])
def test_both_images_meet_the_same_encoder(training, batch):
    encoder = CnnEncoder(widths=(8, 16)).train(training)
    image = batch.before.float() / 255
    before, after = encoder(torch.cat([image, image])).chunk(2)
    assert Difference(16).combine(before, after).eq(0).all()
    assert Concat(16).combine(before, after).shape[-1] == 32
    assert ConcatDifference(16).combine(before, after)[..., 32:].eq(0).all()


class Gated(Fusion):
    """A fusion with a change map of its own, and its gate as an extra."""

    def __init__(self, visual_dim):
        super().__init__(visual_dim)
        self.memory_dim = visual_dim
        self.gate = nn.Linear(visual_dim, 1)

    def forward(self, before, after):
        gate = self.gate(after - before).sigmoid()
        return Fused((gate * after).flatten(1, 2), gate.squeeze(3), extras={"gate": gate})


class Scaled(Objective):
    """An objective with a parameter, over an extra of the fusion."""

    def __init__(self, widths, vocab):
        super().__init__(widths, vocab)
        self.scale = nn.Parameter(torch.ones(widths.visual))

    def forward(self, outputs):
        return (outputs.extra("gate") * self.scale).square().mean()


WIDTHS = Widths(visual=16, memory=16, state=8)


def gated(vocab, fusion):
    parts = {"caption": Caption(WIDTHS, vocab), "my.own:Scaled": Scaled(WIDTHS, vocab)}
    decoder = GruDecoder(16, vocab, dim=8)
    return Captioner(CnnEncoder(widths=(8, 16)), fusion, decoder, parts, {"caption": 1.0, "my.own:Scaled": 0.5})


def test_an_objective_looks_at_extras_and_has_parameters(vocab, batch):
    captioner = gated(vocab, Gated(16)).train()
    losses = captioner.loss(batch)
    torch.testing.assert_close(losses["loss"], losses["caption"] + 0.5 * losses["my.own:Scaled"])
    losses["loss"].backward()
    name = "objectives.my-own:Scaled.scale"
    assert name in captioner.state_dict()
    assert dict(captioner.named_parameters())[name].grad.abs().sum() > 0


def test_an_extra_that_the_fusion_does_not_give_is_named(vocab, batch):
    with pytest.raises(ValueError, match="extra 'gate', but .*: none"):
        gated(vocab, Concat(16, dim=16)).loss(batch)


def test_the_decoder_reads_the_captions_only_if_an_objective_asks(vocab, batch):
    class Silent(Objective):
        def forward(self, outputs):
            return outputs.fused.memory.square().mean()

    captioner = small("gru", "concat", vocab, {"caption": 1.0})
    captioner.decoder.forward = None
    captioner.objectives, captioner.weights = nn.ModuleDict({"silent": Silent(WIDTHS, vocab)}), {"silent": 1.0}
    assert captioner.loss(batch)["loss"] > 0


def test_an_encoder_may_look_at_both_images_together(vocab, batch):
    class Joint(Encoder):
        """Has no `forward`: one image says nothing to it."""

        def __init__(self):
            super().__init__()
            self.dim = 16
            self.mix = nn.Conv2d(6, 32, 8, stride=8)

        def pair(self, before, after):
            grid = self.mix(torch.cat([before, after], dim=1).float() / 255).permute(0, 2, 3, 1)
            return grid[..., :16], grid[..., 16:]

    captioner = small("gru", "concat", vocab, {"caption": 1.0})
    captioner.encoder = Joint()
    captioner.loss(batch)["loss"].backward()
    assert captioner.encoder.mix.weight.grad.abs().sum() > 0
    assert captioner.eval().generate(batch.before, batch.after, locate=True).change_map.shape == (3, 4, 4)


def test_an_objective_needs_a_weight(vocab):
    with pytest.raises(ValueError, match="weights are given for \\[\\]"):
        Captioner(CnnEncoder(), Gated(128), GruDecoder(128, vocab), {"caption": Caption(WIDTHS, vocab)}, {})


def test_generate(vocab, batch):
    captioner = small("transformer", "concat", vocab, {"caption": 1.0}).eval()
    generated = captioner.generate(batch.before, batch.after, beam=3, max_length=5)
    assert generated.tokens.shape[0] == len(generated.log_probs) == 3
    assert generated.tokens.shape[1] <= 5
    assert generated.alternatives.shape == (3, 3, generated.tokens.shape[1])
    assert generated.tokens.equal(generated.alternatives[:, 0])


def test_a_batch_is_learned_by_heart(vocab, batch):
    captioner = small("transformer", "concat-difference", vocab, {"caption": 1.0})
    optimizer = torch.optim.Adam(captioner.parameters(), 5e-3)
    one_each = replace(batch, tokens=batch.tokens[[0, 2, 3]], lengths=batch.lengths[[0, 2, 3]], pair=torch.arange(3))
    for _ in range(60):
        optimizer.zero_grad()
        captioner.loss(one_each)["loss"].backward()
        optimizer.step()
    for _ in range(20):  # the running statistics of the batch norms catch up
        captioner.loss(one_each)
    written = captioner.eval().generate(batch.before, batch.after, beam=2).tokens
    assert written.equal(one_each.tokens[:, 1:])


def test_half_of_concat_starts_as_a_difference():
    same = torch.rand(2, 4, 4, 8)
    projected = Concat(8, dim=6).layers[0]((torch.cat([same, same], dim=-1)).permute(0, 3, 1, 2))
    assert projected[:, :3].abs().max() < 1e-6
    assert projected[:, 3:].abs().max() > 1e-2


@pytest.mark.parametrize("decoder", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("fusion", ["difference", "concat", "concat-difference"])
@pytest.mark.parametrize("beam", [1, 3])
def test_every_pair_of_parts_says_where_it_sees_the_change(decoder, fusion, beam, vocab, batch):
    captioner = small(decoder, fusion, vocab, {"caption": 1.0}).eval()
    written = captioner.generate(batch.before, batch.after, beam=beam, locate=True)
    grid = captioner.encoder(batch.before.float() / 255).shape[1:3]
    assert written.change_map is not None and written.change_map.shape == (3, *grid)
    torch.testing.assert_close(written.change_map.flatten(1).amax(1), torch.ones(3))
    assert (written.change_map >= 0).all()
    assert captioner.generate(batch.before, batch.after, beam=beam).change_map is None


def test_a_change_map_is_the_attention_over_the_words_alone(vocab, batch):
    captioner = small("gru", "concat", vocab, {"caption": 1.0}).eval()
    # The caption of a pair alone has no padding: the others in its batch must not matter.
    together = captioner.generate(batch.before, batch.after, locate=True).change_map
    for row in range(3):
        alone = captioner.generate(batch.before[row : row + 1], batch.after[row : row + 1], locate=True).change_map
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


def test_the_fusions_own_change_map_comes_first_and_places_are_needed(vocab, batch):
    class Knowing(Concat):
        def forward(self, before, after):
            fused = super().forward(before, after)
            return replace(fused, change_map=torch.eye(before.shape[1]).expand(len(before), -1, -1) / 2)

    class Placeless(Concat):
        def forward(self, before, after):
            fused = super().forward(before, after)
            return replace(fused, memory=fused.memory.mean(1, keepdim=True), grid=None)

    captioner = small("gru", "concat", vocab, {"caption": 1.0}).eval()
    captioner.fusion = Knowing(16, dim=16).eval()
    written = captioner.generate(batch.before, batch.after, locate=True)
    torch.testing.assert_close(written.change_map[1], torch.eye(written.change_map.shape[1]))
    captioner.fusion = Placeless(16, dim=16).eval()
    assert captioner.generate(batch.before, batch.after, locate=True).change_map is None


def test_a_decoder_hears_its_own_words_as_often_as_it_is_told(vocab, batch):
    decoder = LstmDecoder(4, vocab, dim=8)
    memory, tokens = torch.randn(200, 3, 4), torch.full((200, 21), 5)
    tokens[:, 0] = vocab.bos_id
    heard = decoder.hear(memory, tokens, 0.25)
    assert heard.shape == tokens.shape and torch.equal(heard[:, 0], tokens[:, 0])
    others = (vocab.size - 1) / vocab.size  # an untrained decoder draws any word, the given one among them
    assert 0.2 < (heard != tokens)[:, 1:].double().mean() / others < 0.3


def test_words_are_drawn_in_training_only(vocab, batch):
    model = small("gru", "concat", vocab, {"caption": 1.0})
    whole = model.eval().loss(batch)["loss"]
    model.drawn = 1.0
    assert torch.equal(model.eval().loss(batch)["loss"], whole)
    torch.manual_seed(1)
    drawn = model.train().loss(batch)["loss"]
    model.drawn = 0.0
    torch.manual_seed(1)
    assert drawn != model.loss(batch)["loss"]
