from dataclasses import replace

import torch
from idc_models import ModelSpec, build_captioner
from idc_models.contract import Decoded, Decoder, Fused, Outputs, Widths
from idc_models.objectives import Caption, Cosine

WIDTHS = Widths(visual=4, memory=4, state=4)


class Given(Decoder):
    """A decoder that has read the captions already."""

    def __init__(self, decoded, vocab):
        super().__init__(4, vocab)
        self.decoded = decoded

    def forward(self, memory, tokens):
        return self.decoded


def outputs(states, tokens, shared, vocab, logits=None):
    logits = torch.zeros(*states.shape[:2], 12) if logits is None else logits
    decoder, lengths = Given(Decoded(logits, states), vocab), (tokens != vocab.pad_id).sum(1)
    fused, pair, references = Fused(torch.zeros(len(shared), 1, 4)), torch.arange(len(tokens)), [[""]] * len(shared)
    return Outputs(fused, decoder, tokens, lengths, pair, shared, references, torch.eye(len(shared)).bool())


TOKENS = torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])


def test_caption_is_the_mean_over_tokens_that_are_no_padding(vocab):
    logits = torch.randn(2, 3, 12)
    given = outputs(torch.zeros(2, 3, 4), TOKENS, torch.eye(2).bool(), vocab, logits)
    log_probs = logits.log_softmax(-1)
    by_hand = [log_probs[0, 0, 5], log_probs[0, 1, 2], log_probs[1, 0, 6], log_probs[1, 1, 7], log_probs[1, 2, 2]]
    torch.testing.assert_close(Caption(WIDTHS, vocab)(given), -torch.stack(by_hand).mean())
    assert Caption(WIDTHS, vocab, label_smoothing=0.2)(given) != Caption(WIDTHS, vocab)(given)


def test_a_caption_ends_where_its_length_says_and_its_end_is_learnt(vocab):
    """Where padding is eos too, as in GPT-2, the first eos is a target and what fills up is none."""
    tokens, logits = torch.tensor([[2, 5, 2, 2], [2, 6, 7, 2]]), torch.randn(2, 3, 12)
    given = outputs(torch.zeros(2, 3, 4), tokens, torch.eye(2).bool(), vocab, logits)
    given = replace(given, lengths=torch.tensor([3, 4]))
    log_probs = logits.log_softmax(-1)
    by_hand = [log_probs[0, 0, 5], log_probs[0, 1, 2], log_probs[1, 0, 6], log_probs[1, 1, 7], log_probs[1, 2, 2]]
    torch.testing.assert_close(Caption(WIDTHS, vocab)(given), -torch.stack(by_hand).mean())


def test_cosine_of_pairs_that_share_no_reference(vocab):
    cosine = Cosine(WIDTHS, vocab)
    same = torch.ones(2, 3, 4)
    torch.testing.assert_close(cosine(outputs(same, TOKENS, torch.eye(2).bool(), vocab)), torch.tensor(1.0))
    assert cosine(outputs(same, TOKENS, torch.ones(2, 2).bool(), vocab)) == 0
    opposite = same * torch.tensor([1.0, -1.0])[:, None, None]
    assert cosine(outputs(opposite, TOKENS, torch.eye(2).bool(), vocab)) == 0
    padded = same.clone()
    padded[0, 2] = -100  # the position that predicts padding does not count
    torch.testing.assert_close(cosine(outputs(padded, TOKENS, torch.eye(2).bool(), vocab)), torch.tensor(1.0))


def test_training_on_cosine_lowers_the_similarity(vocab, batch):
    """Two equal models are trained on the same captions, one of them with the objective's weight at zero."""
    spec = ModelSpec.model_validate(
        {
            "encoder": {"name": "cnn", "widths": [8, 16]},
            "fusion": {"name": "difference", "dim": 16},
            "decoder": {"name": "transformer", "dim": 16, "dropout": 0.0, "layers": 1},
        }
    )
    similarity, caption = {}, {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        captioner = build_captioner(spec, vocab, {"caption": 1.0, "cosine": weight})
        optimizer = torch.optim.Adam(captioner.parameters(), 3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            losses = captioner.loss(batch)
            losses["loss"].backward()
            optimizer.step()
        similarity[weight], caption[weight] = losses["cosine"].item(), losses["caption"].item()
    assert similarity[1.0] < 0.5 * similarity[0.0]
    assert caption[1.0] < 2.0  # from ln 12 = 2.5: it still learns to speak
