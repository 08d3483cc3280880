"""How familiar images are, and what a checkpoint tells of its training data."""

import json
from dataclasses import replace

import pytest
import torch
from idc_models.captioner import Captioner
from idc_models.checkpoint import Contents
from idc_models.contract import Encoder, Fusion
from idc_models.decoders.recurrent import GruDecoder
from idc_models.description import NAME, Description, read_description
from idc_models.familiar import FOREIGN, Familiarity, learn
from idc_models.testing import Vocabulary
from torch import nn


class Averages(Encoder):
    """A grid of 2 x 2 cells with the mean of each colour."""

    dim = 3

    def forward(self, image):
        return nn.functional.adaptive_avg_pool2d(image, 2).permute(0, 2, 3, 1)


class Wide(Encoder):
    """A grid of many features."""

    dim = 500

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 500, 4, stride=4)

    def forward(self, image):
        return self.convolution(image).permute(0, 2, 3, 1)


def captioner(encoder):
    return Captioner(encoder, Fusion(encoder.dim), GruDecoder(8, Vocabulary(), dim=8), {}, {}).eval()


def reddish(num, seed, level=200):
    """Noisy images of one colour."""
    base = torch.tensor([level, 60, 60]).view(1, 3, 1, 1)
    noise = torch.randint(-40, 40, (num, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return (base + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def model():
    return captioner(Averages())


@pytest.fixture(scope="module")
def known(model):
    train = [(reddish(50, seed), reddish(50, seed + 10)) for seed in range(4)]
    return learn(model, train, [(reddish(100, 100), reddish(100, 101))])


def test_images_like_the_training_images_are_familiar_and_others_are_not(model, known):
    same = known(*model.encoder.pair(reddish(200, 7), reddish(200, 8))).amin(1)
    assert same.median() > 0.9 and (same < FOREIGN).float().mean() <= 0.01
    noise = torch.randint(0, 256, (9, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert known(*model.encoder.pair(noise, noise)).max() < 0.01


def test_either_image_of_a_pair_may_be_foreign(model, known):
    blue = reddish(5, 1).flip(1)
    first = known(*model.encoder.pair(blue, reddish(5, 2)))
    second = known(*model.encoder.pair(reddish(5, 2), blue))
    assert (first[:, 0] < 0.01).all() and (first[:, 1] > FOREIGN).all()
    assert (second[:, 1] < 0.01).all() and (second[:, 0] > FOREIGN).all()


def test_the_median_validation_pair_is_familiar_to_99_percent_and_the_limit_is_a_half(known):
    distances = known.limits.exp()
    torch.testing.assert_close(known.familiar(distances), torch.tensor([0.99, FOREIGN]), atol=1e-4, rtol=0)
    assert known.familiar(torch.tensor([0.0, 1e30])).tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize("num", [1, 2])
def test_few_pairs_are_enough_to_tell_what_is_far_away(model, num):
    known = learn(model, [(reddish(num, 0), reddish(num, 1))], [(reddish(1, 3), reddish(1, 4))])
    assert all(torch.isfinite(value).all() for value in known.tensors().values())
    black = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert (
        known(*model.encoder.pair(black, black)).max() < known(*model.encoder.pair(reddish(1, 5), reddish(1, 6))).min()
    )


def test_learning_draws_nothing_and_leaves_the_mode(model):
    state = torch.get_rng_state()
    model.train()
    learn(model, [(reddish(4, 0), reddish(4, 1))], [(reddish(4, 2), reddish(4, 3))])
    assert model.training and torch.equal(torch.get_rng_state(), state)
    model.eval()


def test_many_features_take_little_room():
    train = [(reddish(300, 0), reddish(300, 1))]
    known = learn(captioner(Wide()), train, [(reddish(9, 2), reddish(9, 3))])
    assert known.directions.shape == (64, 1000) and known.tensors()["directions"].dtype == torch.half


@pytest.fixture
def description(known):
    return Description("scenes", "procedural scenes", 70_000, 64, 3, known, ((b"RIFF 1", b"RIFF 2"), (b"3", b"4")))


def held(path, description, **changes):
    return Contents(path, description.metadata(), description.tensors() | changes)


def test_a_description_comes_back_whole(description, tmp_path):
    found = read_description(held(tmp_path, description))
    assert found is not None
    assert replace(found, familiar=description.familiar) == description
    for name, value in description.familiar.tensors().items():
        assert torch.equal(found.familiar.tensors()[name], value)
    assert found.sentence() == "70,000 pairs of procedural scenes, seen at 64 x 64 pixels"


def test_a_file_of_an_older_version_tells_nothing(tmp_path):
    assert read_description(Contents(tmp_path, {}, {})) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"familiar/mean": torch.zeros(3)},
        {"familiar/variances": torch.zeros(())},
        {"familiar/more": torch.zeros(1)},
        {"examples/0/before": torch.zeros(3)},
        {"examples/2/before": torch.zeros(3, dtype=torch.uint8)},
        {"examples/x/before": torch.zeros(3, dtype=torch.uint8)},
    ],
)
def test_a_damaged_description_is_refused(description, tmp_path, damage):
    with pytest.raises(ValueError, match="is damaged"):
        read_description(held(tmp_path, description, **damage))


@pytest.mark.parametrize("change", [{"pairs": "many"}, {"pairs": True}, {"more": 1}])
def test_damaged_numbers_are_refused(description, tmp_path, change):
    plain = json.loads(description.metadata()[NAME]) | change
    with pytest.raises(ValueError, match="is damaged"):
        read_description(Contents(tmp_path, {NAME: json.dumps(plain)}, description.tensors()))


def test_the_warning_says_which_image_it_is_about(description):
    assert description.warning([0.9, 0.5]) is None
    assert description.warning([0.1, 0.9]).startswith("the image before is unlike those that the model was trained on")
    assert description.warning([0.9, 0.1]).startswith("the image after is")
    assert description.warning([0.1, 0.1]).startswith("these images are unlike")
    assert "(procedural scenes)" in description.warning([0.1, 0.1])


def test_familiarity_needs_all_that_it_consists_of(known):
    with pytest.raises(ValueError, match="expected"):
        Familiarity.of_tensors({"mean": known.mean})
