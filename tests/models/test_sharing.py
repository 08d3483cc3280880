"""What is computed of a memory once a pair, and match scores whose gradient goes to the nearest tokens only."""

from dataclasses import replace

import pytest
import torch
from idc_models import ModelSpec, build_captioner
from idc_models.contrast import likeness
from idc_models.decoders.lean_transformer import LeanTransformerDecoder
from idc_models.decoders.post_norm import PostNormDecoder
from idc_models.decoding import generate
from torch import nn


@pytest.mark.parametrize("plugin", [LeanTransformerDecoder, PostNormDecoder])
@pytest.mark.parametrize("beam", [1, 3])
def test_a_beam_finds_the_same_whether_memory_is_kept_once_a_pair_or_once_a_hypothesis(vocab, plugin, beam):
    decoder, memory = plugin(8, vocab, heads=2).double().eval(), torch.randn(2, 3, 8, dtype=torch.double)
    for weights in decoder.parameters():
        nn.init.normal_(weights)
    once = generate(decoder, memory, beam=beam, max_length=5)
    decoder.of_memory = None
    each = generate(decoder, memory, beam=beam, max_length=5)
    assert torch.equal(once.tokens, each.tokens)
    torch.testing.assert_close(once.log_probs, each.log_probs)


@pytest.mark.parametrize("decoder", ["lean-transformer", "post-norm", "dirl"])
def test_a_pair_with_several_captions_trains_as_if_each_had_its_own_memory(vocab, decoder, batch):
    spec = ModelSpec.model_validate(
        {"encoder": {"name": "cnn", "widths": [8, 16]}, "fusion": {"name": "difference", "dim": 16}, "decoder": decoder}
    )
    captioner = build_captioner(spec, vocab, {"caption": 1.0}).eval()
    same = torch.eye(2, dtype=torch.bool)
    batch = replace(
        batch,
        before=batch.before[:2],
        after=batch.after[:2],
        pair=torch.tensor([0, 0, 1, 1]),
        shared=same,
        scene=same,
        references=batch.references[:2],
    )
    rows, read = [], captioner.decoder.forward
    captioner.decoder.forward = lambda memory, tokens: rows.append(len(memory)) or read(memory, tokens)
    given = []
    for start in (captioner.decoder.of_memory, None):
        captioner.decoder.of_memory = start
        loss = captioner(batch)["loss"]
        given.append([loss, *torch.autograd.grad(loss, [*captioner.parameters()])])
    assert rows == [2, 4]
    for ours, theirs in zip(*given, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_match_scores_goes_to_the_nearest_tokens():
    ours, theirs = (torch.randn(*shape, 8, dtype=torch.double, requires_grad=True) for shape in ((3, 5), (4, 6)))
    products = torch.einsum("amd,bnd->abmn", ours, theirs)
    plain = (products.amax(3).mean(2) + products.amax(2).mean(2)) / 2
    weights = torch.randn(3, 4, dtype=torch.double)
    scores = likeness(ours, theirs)
    torch.testing.assert_close(scores, plain)
    for mine, expected in zip(
        *(torch.autograd.grad((each * weights).sum(), [ours, theirs]) for each in (scores, plain)), strict=True
    ):
        torch.testing.assert_close(mine, expected)
