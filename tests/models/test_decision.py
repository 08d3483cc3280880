"""The caption and its probability of a change agree, and captions do not repeat themselves: models by construction."""

import math

import pytest
import torch
from idc_models.contract import Decoded, Decoder
from idc_models.decision import agreeing
from idc_models.decoding import generate
from idc_models.serving.probability import total_probability
from idc_models.testing import Vocabulary

EOS = 2
SAME = [[4, 5, EOS], [4, 6, EOS]]  # the no-change sentences
MEMORY = torch.zeros(1, 1, 8)


class Says(Decoder):
    """Says each of a few captions with its probability, and hardly ever anything else."""

    def __init__(self, captions):
        super().__init__(8, Vocabulary())
        self.captions = captions

    def forward(self, memory, tokens):
        logits = torch.full((*tokens.shape, self.vocab.size), 1e-9)
        for row, begun in enumerate(tokens.tolist()):
            for place in range(len(begun)):
                for caption, probability in self.captions.items():
                    if begun[1 : place + 1] == list(caption[:place]) and place < len(caption):
                        logits[row, place, caption[place]] += probability
        return Decoded(logits.log(), torch.zeros(*tokens.shape, 1))


# "Nothing changed" is the likeliest sentence of all, but changes are likelier in sum; and the other way round.
MOSTLY_CHANGED = Says({(4, 5, EOS): 0.3, (7, 8, EOS): 0.25, (7, 9, EOS): 0.25, (10, EOS): 0.2})
MOSTLY_SAME = Says({(7, 8, EOS): 0.4, (4, 5, EOS): 0.25, (4, 6, EOS): 0.35})


def told(decoder, **decoding):
    written = generate(decoder, MEMORY, **decoding)
    if written.alternatives is None:
        tokens, log_probs = written.tokens[:, None], written.log_probs[:, None]
    else:
        tokens, log_probs = written.alternatives, written.alternative_log_probs
    changed = 1 - total_probability(decoder, MEMORY, SAME)
    limit = decoding.get("max_length")
    tokens, log_probs = agreeing(decoder, MEMORY, tokens, log_probs, changed, SAME, max_length=limit)
    assert log_probs.shape == tokens.shape[:2]
    return [[token for token in caption if token] for caption in tokens[0].tolist()], log_probs[0].exp().tolist()


def test_a_pair_that_has_probably_changed_is_not_told_as_unchanged():
    assert generate(MOSTLY_CHANGED, MEMORY, beam=3).tokens[0].tolist()[:2] == [4, 5]  # what is said without the rule
    for decoding in ({}, {"beam": 3}):
        captions, probabilities = told(MOSTLY_CHANGED, **decoding)
        assert captions[0] not in SAME and captions[0][-1] == EOS
        assert probabilities[0] == pytest.approx(0.25, abs=1e-3)


def test_a_pair_that_has_probably_not_changed_is_told_as_unchanged():
    assert generate(MOSTLY_SAME, MEMORY, beam=2).tokens[0].tolist()[:2] == [7, 8]
    for decoding in ({}, {"beam": 3}):
        captions, probabilities = told(MOSTLY_SAME, **decoding)
        assert captions[0] == [4, 6, EOS] and probabilities[0] == pytest.approx(0.35, abs=1e-3)


def test_captions_that_agree_stay_as_they_are():
    decoder = Says({(7, 8, EOS): 0.6, (4, 5, EOS): 0.4})
    captions, probabilities = told(decoder, beam=2)
    assert captions == [[7, 8, EOS], [4, 5, EOS]] and probabilities == pytest.approx([0.6, 0.4], abs=1e-3)


def test_as_many_captions_come_back_as_were_written_and_none_twice():
    for decoder in (MOSTLY_CHANGED, MOSTLY_SAME):
        for beam in (1, 2, 4):
            captions, _ = told(decoder, beam=beam)
            assert len(captions) == beam == len(set(map(tuple, captions)))


def test_a_caption_broken_off_at_the_limit_is_left_alone():
    captions, _ = told(MOSTLY_SAME, max_length=1)
    assert captions == [[4]] or captions == [[7]]


def test_each_pair_is_decided_for_itself():
    memory = torch.zeros(3, 1, 8)
    tokens = generate(MOSTLY_CHANGED, memory, beam=3)
    changed = torch.tensor([0.7, 0.2, 0.7])
    found, _ = agreeing(MOSTLY_CHANGED, memory, tokens.alternatives, tokens.alternative_log_probs, changed, SAME)
    assert [caption[:2] in ([4, 5], [4, 6]) for caption in found[:, 0].tolist()] == [False, True, False]


class Stutters(Decoder):
    """Wants to say "4 5 4 5 4 5 ..." for ever; now and then it would rather end."""

    def forward(self, memory, tokens):
        logits = torch.full((*tokens.shape, self.vocab.size), -9.0)
        logits[..., EOS] = -3.0
        logits[..., 4] = torch.where(tokens == 4, -9.0, 2.0)
        logits[..., 5] = torch.where(tokens == 4, 2.0, -9.0)
        return Decoded(logits, torch.zeros(*tokens.shape, 1))


@pytest.mark.parametrize("decoding", [{}, {"beam": 4}, {"sample": True}])
@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_no_caption_says_so_many_tokens_twice(decoding, num):
    decoder = Stutters(8, Vocabulary())
    torch.manual_seed(0)
    memory = torch.zeros(5, 1, 8)
    freely = generate(decoder, memory, **decoding)
    assert any(repeats(row, num) for row in freely.tokens.tolist())
    written = generate(decoder, memory, no_repeat=num, **decoding)
    every = written.tokens if written.alternatives is None else written.alternatives.flatten(0, 1)
    assert not any(repeats(row, num) for row in every.tolist())
    assert all(math.isfinite(value) for value in written.log_probs.tolist())


def repeats(ids, num):
    ids = ids[: ids.index(EOS)] if EOS in ids else ids
    grams = [tuple(ids[start : start + num]) for start in range(len(ids) - num + 1)]
    return len(set(grams)) < len(grams)


def test_what_repeats_nothing_is_written_as_before():
    freely, bound = (generate(MOSTLY_SAME, MEMORY, beam=3, no_repeat=num) for num in (0, 2))
    assert torch.equal(freely.alternatives, bound.alternatives) and torch.equal(freely.log_probs, bound.log_probs)


def test_forbidden_captions_are_not_written_but_their_beginnings_are():
    decoder = Says({(4, 5, EOS): 0.6, (4, 5, 6, EOS): 0.3, (EOS,): 0.1})
    assert generate(decoder, MEMORY, forbidden=[[4, 5, EOS]]).tokens[0].tolist() == [4, 5, 6, EOS]
    written = generate(decoder, MEMORY, beam=3, forbidden=[[4, 5, EOS], [4, 5, 6, EOS], [9, EOS]])
    assert written.tokens[0].tolist()[0] == EOS


def test_a_negative_number_of_repeats_is_refused():
    with pytest.raises(ValueError, match="no_repeat is -1"):
        generate(MOSTLY_SAME, MEMORY, no_repeat=-1)
