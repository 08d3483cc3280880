"""A checkpoint at work, with nothing but the file and idc_models."""

import json
import math

import numpy as np
import pytest
import torch
from idc_data.tokenizers import write_tokenizer
from idc_data.tokenizers.words import Words
from idc_models.decoders.recurrent import GruDecoder
from idc_models.decoders.transformer import TransformerDecoder
from idc_models.serving.align import align
from idc_models.serving.inference import PairCaptioner
from idc_models.serving.probability import total_probability
from idc_models.serving.settings import Decoding
from idc_models.spec import ModelSpec, build_captioner
from idc_models.testing import Vocabulary as Small
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SAID = ["the cube moved", "there's a left-hand cube, gone", "nothing has changed", "nothing changed"]


@pytest.fixture(scope="module")
def tokenizer():
    return Words.train(SAID, max_length=9)


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    """Fresh weights, which are in doubt about everything, in the format of idc_run."""
    model = {
        "encoder": {"name": "cnn", "widths": [8, 8]},
        "fusion": {"name": "concat", "dim": 16},
        "decoder": {"name": "transformer", "dim": 16, "layers": 1, "heads": 2},
    }
    torch.manual_seed(0)
    built = build_captioner(ModelSpec.model_validate(model), tokenizer, {"caption": 1.0, "cosine": 0.1})
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    spec = {"model": model, "data": {"image_size": 32}, "eval": {"beam": 1, "length_penalty": 0.0}}
    metadata = {
        "format": "idc-checkpoint/1",
        "spec": json.dumps(spec),
        "tokenizer": write_tokenizer(tokenizer),
        "unchanged": json.dumps(SAID[2:]),
    }
    save_file({f"model/{name}": value.clone() for name, value in built.state_dict().items()}, path, metadata)
    return path


@pytest.fixture(scope="module")
def captioner(checkpoint):
    return PairCaptioner(checkpoint)


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 256, (2, 32, 40, 3), np.uint8)) for _ in range(5)]


def texts(captions):
    return [[each.caption, *(other.caption for other in each.alternatives)] for each in captions]


@pytest.mark.parametrize("plugin", [GruDecoder, TransformerDecoder])
def test_the_probability_of_captions_is_the_sum_over_them(plugin):
    decoder = plugin(16, Small(), dim=16, dropout=0.0).eval()
    memory = torch.randn(3, 5, 16)
    captions = [[4, 5, 2], [4, 5, 6, 2], [4, 2], [7, 2], [2]]

    def probability(caption):
        tokens = torch.tensor([[1, *caption]]).expand(3, -1)
        log_probs = decoder(memory, tokens[:, :-1]).logits.log_softmax(2)
        return log_probs.gather(2, tokens[:, 1:, None]).sum((1, 2)).exp().double()

    expected = torch.stack([probability(caption) for caption in captions]).sum(0)
    torch.testing.assert_close(total_probability(decoder, memory, captions, negligible=0.0), expected)
    assert (total_probability(decoder, memory, captions[:4], negligible=1.0) == 0).all()
    assert total_probability(decoder, memory, []).tolist() == [0, 0, 0]


def test_changed_is_what_the_no_change_sentences_leave(captioner, pairs):
    every = captioner.caption(pairs, num_captions=9, max_length=4)
    for each in every:
        said = {each.caption: each.log_prob} | {other.caption: other.log_prob for other in each.alternatives}
        assert 0 < each.changed < 1 - sum(math.exp(said.get(sentence, -math.inf)) for sentence in SAID[2:]) + 0.01


def test_a_model_that_learnt_no_such_sentence_does_not_say_whether_anything_changed(checkpoint, pairs, tmp_path):
    with safe_open(checkpoint, "pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "unchanged"}
    save_file(load_file(checkpoint), tmp_path / "old.safetensors", metadata)
    (said,) = PairCaptioner(tmp_path / "old.safetensors").caption(pairs[:1])
    assert said.changed is None


def test_alternatives_are_other_captions_best_first(captioner, pairs):
    for settings in ({}, {"beam": 5}, {"sample": True, "temperature": 1.5}):
        for each in captioner.caption(pairs, num_captions=4, **settings):
            said = [each, *each.alternatives]
            assert len({one.caption for one in said}) == len(said) <= 4
            assert [one.log_prob for one in said] == sorted((one.log_prob for one in said), reverse=True)
    assert all(not each.alternatives for each in captioner.caption(pairs, beam=5))


def test_a_draw_hangs_on_its_seed_and_on_nothing_else(captioner, pairs):
    drawn = captioner.caption(pairs, sample=True, num_captions=3)
    alone = [captioner.caption([pair], sample=True, num_captions=3)[0] for pair in pairs]
    assert texts(drawn) == texts(alone)
    assert texts(drawn) != texts(captioner.caption(pairs, sample=True, num_captions=3, seed=1))
    bold = captioner.caption(pairs, sample=True, temperature=0.05)
    assert texts(bold) == texts(captioner.caption(pairs, beam=1))


def test_the_change_map_has_the_shape_of_before(captioner, pairs):
    pairs = [*pairs, (pairs[0][0][:20], pairs[0][1])]
    maps = [each.change_map for each in captioner.caption(pairs, change_map=True)]
    assert [each.shape for each in maps] == [(32, 40)] * 5 + [(20, 40)]
    assert all(each.dtype == np.uint8 and each.max() > each.min() for each in maps)
    assert captioner.caption(pairs)[0].change_map is None


def test_large_photos_are_made_smaller_before_they_are_aligned(captioner, monkeypatch):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8))
    before = np.asarray(small.resize((400, 300), Image.Resampling.BICUBIC))
    after, shapes = before[:, 40:], []

    def register(*sides):
        shapes.extend(side.shape[:2] for side in sides)
        return align(*sides)

    monkeypatch.setattr("idc_models.serving.align.align", register)
    monkeypatch.setattr("idc_models.serving.align.ALIGNED", 240)
    pair = captioner.prepare(before, after, align=True)
    assert shapes == [(180, 240), (200, 240)] and pair.shape == (300, 400)
    moved, straight = (
        (each.before.float() - each.after).abs().mean() for each in (pair, captioner.prepare(before, after))
    )
    assert moved < 0.2 * straight
    captioner.prepare(before[:100, :200], before[:100, :200], align=True)
    assert shapes[2:] == [(100, 200)] * 2, "those that are small stay as they are"


@pytest.mark.parametrize("wrong", [{"beam": 0}, {"max_length": 0}, {"num_captions": 0}])
def test_what_is_out_of_range_is_refused(captioner, pairs, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; expected 1 to "):
        captioner.caption(pairs, **wrong)
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        captioner.write([captioner.prepare(*pairs[0])], Decoding(sample=True, temperature=0.0))


def test_many_hypotheses_are_decoded_in_parts(captioner, pairs, monkeypatch):
    wide = captioner.caption(pairs, beam=4, num_captions=4, change_map=True)
    monkeypatch.setattr("idc_models.serving.inference.MAX_ROWS", 9)
    parts = captioner.caption(pairs, beam=4, num_captions=4, change_map=True)
    assert texts(parts) == texts(wide)
    assert all((one.change_map == other.change_map).all() for one, other in zip(parts, wide, strict=True))


def test_no_pairs_have_no_captions(captioner):
    assert captioner.caption([]) == []
