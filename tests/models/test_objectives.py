import torch
from idc_models import ModelSpec, build_captioner
from idc_models.contract import Decoded, Fused, Outputs
from idc_models.objectives import Caption, Cosine


def outputs(states, tokens, shared, logits=None):
    logits = torch.zeros(*states.shape[:2], 12) if logits is None else logits
    fused = Fused(torch.zeros(len(shared), 1, 4))
    return Outputs(fused, Decoded(logits, states), tokens, torch.arange(len(tokens)), shared, pad_id=0)


TOKENS = torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])


def test_caption_is_the_mean_over_tokens_that_are_no_padding(vocab):
    logits = torch.randn(2, 3, 12)
    given = outputs(torch.zeros(2, 3, 4), TOKENS, torch.eye(2).bool(), logits)
    log_probs = logits.log_softmax(-1)
    by_hand = [log_probs[0, 0, 5], log_probs[0, 1, 2], log_probs[1, 0, 6], log_probs[1, 1, 7], log_probs[1, 2, 2]]
    torch.testing.assert_close(Caption(4, vocab)(given), -torch.stack(by_hand).mean())
    assert Caption(4, vocab, label_smoothing=0.2)(given) != Caption(4, vocab)(given)


def test_cosine_of_pairs_that_share_no_reference(vocab):
    cosine = Cosine(4, vocab)
    same = torch.ones(2, 3, 4)
    torch.testing.assert_close(cosine(outputs(same, TOKENS, torch.eye(2).bool())), torch.tensor(1.0))
    assert cosine(outputs(same, TOKENS, torch.ones(2, 2).bool())) == 0
    opposite = same * torch.tensor([1.0, -1.0])[:, None, None]
    assert cosine(outputs(opposite, TOKENS, torch.eye(2).bool())) == 0
    padded = same.clone()
    padded[0, 2] = -100  # the position that predicts padding does not count
    torch.testing.assert_close(cosine(outputs(padded, TOKENS, torch.eye(2).bool())), torch.tensor(1.0))


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
