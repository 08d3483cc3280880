"""Self-critical training: rewards, baselines, and the corpus that words are weighed by."""

from dataclasses import replace

import pytest
import torch
from idc_models.contract import Decoded, Decoder, Fused, Outputs, Widths
from idc_models.decoders.recurrent import GruDecoder
from idc_models.testing import Vocabulary, check_objective

from idc_run.training.data import open_data, training_references
from idc_run.training.self_critical import SelfCritical

WIDTHS = Widths(visual=4, memory=4, state=8)
CORPUS = [
    ["word3 word4 word5 word6", "word3 word4 word5 word7"],
    ["word8 word9 word3 word4"],
    ["word5 word6 word7 word8", "word9 word8 word7 word6"],
]


@pytest.fixture
def outputs():
    """Three pairs and a decoder that draws anything."""
    torch.manual_seed(0)
    vocab = Vocabulary()
    tokens, yes = torch.full((3, 4), vocab.bos_id), torch.eye(3).bool()
    lengths, pair = torch.full((3,), 4), torch.arange(3)
    return Outputs(Fused(torch.randn(3, 2, 4)), GruDecoder(4, vocab, dim=8), tokens, lengths, pair, yes, CORPUS, yes)


@pytest.mark.parametrize("settings", [{}, {"samples": 2}, {"baseline": "samples", "samples": 3}])
def test_it_keeps_the_contract(settings):
    check_objective(SelfCritical, **settings)


def test_one_caption_has_no_others_to_be_held_against():
    with pytest.raises(ValueError, match="'samples' and samples is 1;.*samples: 5"):
        SelfCritical(WIDTHS, Vocabulary(), baseline="samples")


@pytest.mark.parametrize("settings", [{}, {"baseline": "samples", "samples": 5}])
def test_what_scores_more_than_the_baseline_becomes_likelier(outputs, settings):
    objective = SelfCritical(WIDTHS, outputs.decoder.vocab, **settings)
    objective.meet(lambda: CORPUS)
    optimizer = torch.optim.Adam(outputs.decoder.parameters(), lr=0.02)
    before = objective.eval()(outputs)
    objective.train()
    for _ in range(150):
        optimizer.zero_grad()
        objective(outputs).backward()
        optimizer.step()
    assert outputs.decoder.training
    assert objective.eval()(outputs) < before - 0.1


class Scripted(Decoder):
    """Says what it is told, whatever it sees."""

    def __init__(self, vocab, said):
        super().__init__(4, vocab)
        self.said = torch.tensor(said)

    def forward(self, memory, tokens):
        logits = torch.nn.functional.one_hot(self.said[: tokens.shape[1]], self.vocab.size) * 50.0
        logits = logits.expand(len(tokens), -1, -1)
        return Decoded(logits, logits)


def test_a_caption_that_breaks_off_is_worth_less(outputs):
    vocab, lacking = outputs.decoder.vocab, []
    objective = SelfCritical(WIDTHS, vocab).eval()
    objective.meet(lambda: CORPUS)
    for said in ([3, 4, 5, 6, vocab.eos_id, 0, 0], [3, 4, 5, 6, 6, 6, 6]):
        references = [["word3 word4 word5 word6"]] * 3
        lacking.append(objective(replace(outputs, decoder=Scripted(vocab, said), references=references)))
    assert lacking[0] < 0.01 and lacking[1] > 0.3


def test_the_training_split_weighs_the_words(spec):
    data = open_data(spec())
    references = training_references(data.train)
    assert len(references) > len(data.train) and [text for each in references for text in each] == data.captions


def test_words_are_weighed_by_the_batch_where_nobody_offered_more(outputs):
    objective = SelfCritical(WIDTHS, outputs.decoder.vocab).eval()
    assert 0 <= objective(outputs) <= 1
    assert 0 <= objective(replace(outputs, references=[["WORD3, word4!"]] * 3)) <= 1
