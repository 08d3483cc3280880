"""DIRL against its equations; there is no fixture of the published modules here."""

import math
from dataclasses import replace

import pytest
import torch
from idc_models.contract import Widths
from idc_models.decoders.dirl import DirlDecoder
from idc_models.decoders.lean_transformer import LeanTransformerDecoder
from idc_models.fusions.dirl import Dirl
from idc_models.objectives.ccr import Ccr
from idc_models.objectives.decorrelation import Decorrelation
from torch import nn

WORDS, LENGTHS = [[1, 4, 5, 6, 2], [1, 6, 2, 0, 0]], [5, 3]
WIDTHS = Widths(3, 8, 8)


@pytest.fixture(params=[False, True], ids=["clevr-change", "clevr-dc"])
def found(request, vocab, outputs):
    fusion = Dirl(3, dim=8, heads=2, coordinates=True, norm=request.param).double().eval()
    decoder = DirlDecoder(8, vocab, word_dim=6, heads=2, norm=request.param).double().eval()
    for part in (fusion, decoder):
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.4)
    fused = fusion(*torch.randn(2, 2, 2, 3, 3, dtype=torch.float64))
    return fusion, outputs(fused, decoder, torch.tensor(WORDS), torch.tensor(LENGTHS))


def test_the_memory_is_what_torchs_own_attention_says(found, agree):
    fusion, outputs = found
    own, other = first = outputs.fused.extras["before"], outputs.fused.extras["after"]
    for layer in fusion.layers:
        attend = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()
        attend.load_state_dict(layer.attention.state_dict())
        own, other = (layer.norm(a + attend(a, b, b)[0]) for a, b in ((own, other), (other, own)))
    memory = fusion.norm(fusion.output(torch.cat([first[0] - own, first[1] - other], dim=2))).clamp(min=0)
    agree(outputs.fused.memory, memory)


def test_decorrelation_is_the_sum_over_all_features(found, agree):
    outputs = found[1]
    objective = Decorrelation(WIDTHS, outputs.decoder.vocab, hidden=5).double().eval()
    sides = [objective.network(outputs.extra(side)).flatten(0, 1).tolist() for side in ("before", "after")]
    tables = []
    for side in sides:
        columns = []
        for column in zip(*side, strict=True):
            mean = sum(column) / len(column)
            spread = math.sqrt(sum((x - mean) ** 2 for x in column) / (len(column) - 1))
            columns.append([(x - mean) / spread for x in column])
        tables.append(columns)
    expected = 0.0
    for i, ours in enumerate(tables[0]):
        for j, theirs in enumerate(tables[1]):
            c = sum(x * y for x, y in zip(ours, theirs, strict=True)) / len(ours)
            expected += (c - 1) ** 2 if i == j else 0.003 * c**2
    assert objective(outputs).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("as_published", [False, True])
def test_ccr_is_the_contrast_of_words_and_what_is_read(found, as_published):
    outputs = found[1]
    decoded = outputs.decoder(outputs.fused.memory, outputs.tokens)
    lasts = [5, 5] if as_published else [length - 1 for length in LENGTHS]
    words, read = (
        [decoded.extras[name][index, :last].mean(0) for index, last in enumerate(lasts)] for name in ("words", "read")
    )
    expected = 0.0
    for i in range(2):
        scores = [((words[i] @ read[j] + words[j] @ read[i]) / 2 / 0.5).item() for j in range(2)]
        expected += (math.log(sum(map(math.exp, scores))) - scores[i]) / 2
    objective = Ccr(WIDTHS, outputs.decoder.vocab, as_published=as_published)
    assert objective(outputs).item() == pytest.approx(expected, abs=1e-5)
    assert objective(replace(outputs, scene=torch.ones(2, 2, dtype=torch.bool))).item() == 0


def test_the_decoder_is_torchs_own_with_norms_after_the_residuals(found, agree):
    decoder, memory = found[1].decoder, found[1].fused.memory
    tokens = torch.tensor(WORDS)
    hidden = decoder.embed(tokens)
    for layer in decoder.layers:
        theirs = nn.TransformerDecoderLayer(8, 2, 32, batch_first=True).double().eval()
        names = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
        state = {name.replace(k, v): x for k, v in names.items() for name, x in layer.state_dict().items() if k in name}
        state |= {name: x for name, x in layer.state_dict().items() if "attention" not in name}
        theirs.load_state_dict(state)
        later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        hidden = theirs(hidden, memory, tgt_mask=later, tgt_key_padding_mask=tokens == 0)
    agree(decoder(memory, tokens).states, hidden)


def test_ccr_says_which_decoder_it_needs(vocab, found, outputs):
    seen = outputs(
        found[1].fused, LeanTransformerDecoder(8, vocab).double(), torch.tensor(WORDS), torch.tensor(LENGTHS)
    )
    with pytest.raises(ValueError, match="'words'.*decoder: dirl"):
        Ccr(WIDTHS, vocab)(seen)
