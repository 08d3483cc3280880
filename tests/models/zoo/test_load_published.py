import pytest
import torch
from idc_models.decoders.dynamic_speaker import DynamicSpeaker
from idc_models.fusions.duda import Duda
from idc_models.zoo import load_published, method_of, methods, rename


@pytest.fixture
def state(vocab):
    """A published state of DUDA, by its published names."""
    fusion, decoder = Duda(3, dim=32, coordinates=True), DynamicSpeaker(5, vocab, dim=6, embed_dim=7, word_dim=4)
    ours = {f"fusion/{name}": value for name, value in fusion.state_dict().items()}
    ours |= {f"decoder/{name}": value for name, value in decoder.state_dict().items()}
    back = {theirs: start for start, theirs in method_of("duda").names.items() if theirs}
    named = {}
    for name, value in ours.items():
        start = next(each for each in back if name.startswith(each))
        named[back[start] + name.removeprefix(start)] = value
    return {**named, "detector/fc1.weight": torch.zeros(6, 5), "detector/fc1.bias": torch.zeros(6)}


def test_shapes_say_what_the_parts_are(state):
    fusion, decoder, objectives = load_published("duda", state)
    assert fusion.memory_dim == 5 and decoder.state_dim == 6 and not fusion.training
    assert objectives.keys() == {"caption", "map-sum", "attention-entropy"}
    assert (decoder.vocab.pad_id, decoder.vocab.bos_id, decoder.vocab.eos_id) == (0, 2, 0)
    assert decoder.vocab.decode([5, 4, 0, 7]) == "5 4"
    assert fusion.state_dict()["attend.weight"].equal(state["detector/att.weight"])


def test_settings_and_words_may_be_given(state, vocab):
    fusion, decoder, _ = load_published("duda", state, {"fusion": {"groups": 16}, "vocab": vocab})
    assert fusion.embed[1].num_groups == 16 and decoder.vocab is vocab


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"speaker/logit.weight": None}, {}, "does not fit 'duda' .*missing: decoder.output.weight"),
        ({"speaker/embed.0.weight": None}, {}, "not one of 'duda': it lacks 'speaker/embed.0.weight'"),
        ({"speaker/logit.scale": torch.zeros(1)}, {}, "unknown: decoder.output.scale"),
        ({"speaker/other.weight": torch.zeros(1)}, {}, "'speaker/other.weight' is not a published parameter of 'duda'"),
        ({"speaker/logit.bias": torch.zeros(1)}, {}, "of another shape: decoder.output.bias"),
        ({}, {"heads": 8}, "unknown settings \\['heads'\\]; expected fusion, decoder, objectives, vocab"),
        ({}, {"decoder": {"head": 8}}, "unknown setting 'head'"),
    ],
)
def test_what_does_not_fit_is_told(state, change, settings, message):
    state = {name: value for name, value in {**state, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message) as caught:
        load_published("duda", state, settings)
    assert "\n" not in str(caught.value)


def test_an_unknown_method_is_told():
    with pytest.raises(ValueError, match="unknown method 'dudda'; did you mean 'duda'"):
        method_of("dudda")


@pytest.mark.parametrize("name", methods())
def test_every_method_says_what_it_is(name):
    method = method_of(name)
    assert method.objectives["caption"] == 1.0
    for theirs, ours in method.names.items():
        assert "/" in theirs and (ours is None or ours.partition("/")[0] in ("fusion", "decoder", "objectives"))
        assert ours is None or theirs.count("*") >= ours.count("*")


def test_gradients_are_renamed_like_weights():
    assert rename("mccformers-s", {"encoder/transformer.layers.1.norm1.bias": torch.zeros(1)}).keys() == {
        "fusion/layers.1.norm1.bias"
    }
