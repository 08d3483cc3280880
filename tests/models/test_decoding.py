import pytest
import torch
from idc_models.contract import Decoded, Decoder
from idc_models.decoders.recurrent import GruDecoder, LstmDecoder
from idc_models.decoders.transformer import TransformerDecoder
from idc_models.decoding import generate, until_end, widest_beam
from idc_models.testing import Vocabulary
from torch.nn.functional import cross_entropy

PLUGINS = [LstmDecoder, GruDecoder, TransformerDecoder]
MEMORY = torch.randn(8, 5, 16, generator=torch.Generator().manual_seed(1))


CAPTIONS = torch.tensor(
    [
        [1, 4, 5, 6, 7, 8, 9, 2],
        [1, 5, 2, 0, 0, 0, 0, 0],
        [1, 6, 7, 2, 0, 0, 0, 0],
        [1, 4, 5, 9, 2, 0, 0, 0],
        [1, 8, 8, 8, 4, 2, 0, 0],
        [1, 10, 2, 0, 0, 0, 0, 0],
        [1, 11, 4, 10, 2, 0, 0, 0],
        [1, 9, 5, 11, 6, 4, 2, 0],
    ]
)


@pytest.fixture(params=PLUGINS, scope="module")
def decoder(request):
    """A decoder halfway through learning: its captions depend on the memory, and it is still in doubt."""
    torch.manual_seed(0)
    decoder = request.param(16, Vocabulary(), dim=32, dropout=0.0)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        logits = decoder(MEMORY, CAPTIONS[:, :-1]).logits
        cross_entropy(logits.flatten(0, 1), CAPTIONS[:, 1:].flatten(), ignore_index=0).backward()
        optimizer.step()
    return decoder.eval()


def log_probs_of(decoder, tokens):
    """Scores captions in one pass, without any cache."""
    vocab = decoder.vocab
    begun = torch.cat([torch.full((len(tokens), 1), vocab.bos_id), tokens], dim=1)
    log_probs = decoder(MEMORY, begun[:, :-1]).logits.log_softmax(-1).gather(2, tokens[..., None]).squeeze(2)
    return (log_probs * (tokens != vocab.pad_id)).sum(1)


@pytest.mark.parametrize("arguments", [{}, {"beam": 4}, {"beam": 3, "length_penalty": 1.0}, {"sample": True}])
def test_captions_end_well_and_score_what_they_say(decoder, vocab, arguments):
    generated = generate(decoder, MEMORY, **arguments)
    assert not (generated.tokens == vocab.bos_id).any()
    ended = (generated.tokens == vocab.eos_id).cumsum(1) - (generated.tokens == vocab.eos_id).long()
    assert ((generated.tokens == vocab.pad_id) == ended.bool()).all()  # padding after eos, and nowhere else
    assert len({int(length) for length in (generated.tokens != vocab.pad_id).sum(1)}) > 1
    torch.testing.assert_close(generated.log_probs, log_probs_of(decoder, generated.tokens), rtol=1e-4, atol=1e-4)


def test_a_beam_of_one_is_greedy(decoder, vocab):
    greedy = torch.full((len(MEMORY), 1), vocab.bos_id)
    for _ in range(vocab.max_length - 1):
        logits = decoder(MEMORY, greedy).logits[:, -1]
        logits[:, [vocab.pad_id, vocab.bos_id]] = -torch.inf
        greedy = torch.cat([greedy, logits.argmax(1, keepdim=True)], dim=1)
    after_eos = (greedy == vocab.eos_id).cumsum(1) - (greedy == vocab.eos_id).long()
    greedy = greedy.masked_fill(after_eos.bool(), vocab.pad_id)[:, 1:]
    written = generate(decoder, MEMORY).tokens
    assert written.equal(greedy[:, : written.shape[1]])
    assert (greedy[:, written.shape[1] :] == vocab.pad_id).all()


def test_a_beam_finds_captions_at_least_as_likely(decoder):
    greedy, beam = generate(decoder, MEMORY).log_probs, generate(decoder, MEMORY, beam=4).log_probs
    assert (beam >= greedy - 1e-5).all()


class Garden(Decoder):
    """Leads down the garden path: the likeliest first word (4) has no likely sequel, the second (5) ends at once."""

    NEXT = {1: {4: 0.6, 5: 0.4}, 4: {6: 0.5, 7: 0.5}, 5: {2: 1.0}, 6: {2: 1.0}, 7: {2: 1.0}}

    def __init__(self, memory_dim, vocab):
        super().__init__(memory_dim, vocab)
        self.table = torch.full((vocab.size, vocab.size), 1e-9)
        for token, sequels in self.NEXT.items():
            for sequel, probability in sequels.items():
                self.table[token, sequel] = probability

    def forward(self, memory, tokens):
        logits = self.table[tokens].log()
        return Decoded(logits, logits)


@pytest.mark.parametrize(
    ("arguments", "caption", "probability"),
    [
        ({}, [4, 6, 2], 0.3),
        ({"beam": 2}, [5, 2, 0], 0.4),
        ({"beam": 3, "length_penalty": 1.0}, [4, 6, 2], 0.3),  # ln 0.3 / 3 > ln 0.4 / 2
    ],
)
def test_what_greedy_beam_and_length_penalty_find(vocab, arguments, caption, probability):
    generated = generate(Garden(16, vocab), MEMORY[:1], **arguments)
    length = generated.tokens.shape[1]
    assert generated.tokens[0].tolist() == caption[:length]
    assert caption[length:] == [0] * (3 - length)
    torch.testing.assert_close(generated.log_probs.exp(), torch.tensor([probability]))


def test_a_batch_is_decoded_like_its_rows(decoder):
    together = generate(decoder, MEMORY, beam=3, length_penalty=0.7)
    for row in range(len(MEMORY)):
        alone = generate(decoder, MEMORY[row : row + 1], beam=3, length_penalty=0.7)
        length = alone.tokens.shape[1]
        assert together.tokens[row, :length].equal(alone.tokens[0])
        assert (together.tokens[row, length:] == 0).all()
        torch.testing.assert_close(together.log_probs[row], alone.log_probs[0], rtol=1e-4, atol=1e-4)


def test_length_penalty_makes_captions_longer(decoder):
    short, long = (generate(decoder, MEMORY, beam=4, length_penalty=alpha).tokens for alpha in (0.0, 2.0))
    assert (long != 0).sum() >= (short != 0).sum()


def test_sampling(decoder):
    def draw(seed, **arguments):
        return generate(decoder, MEMORY, sample=True, generator=torch.Generator().manual_seed(seed), **arguments).tokens

    assert draw(1).equal(draw(1))
    assert any(not draw(seed).equal(draw(1)) for seed in range(2, 6))
    greedy = generate(decoder, MEMORY).tokens
    assert draw(1, top_k=1).equal(greedy)
    assert draw(1, temperature=1e-4).equal(greedy)


def test_max_length(decoder):
    assert generate(decoder, MEMORY, max_length=2).tokens.shape[1] <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beam": 0}, "beam is 0; expected 1 to 10"),
        ({"beam": 2, "sample": True}, "beam is 2 and sample is true; .* beam of 1"),
        ({"max_length": 0}, "max_length is 0"),
        ({"sample": True, "temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_arguments_out_of_range(vocab, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(GruDecoder(16, vocab, dim=8), MEMORY, **arguments)


def test_attention_sums_to_one(decoder):
    attention = decoder(MEMORY, torch.ones(8, 3, dtype=torch.long)).attention
    torch.testing.assert_close(attention.sum(2), torch.ones(8, 3))


GPT = Vocabulary(pad_id=2, bos_id=2, eos_id=2)
"""As in GPT-2: one token begins a caption, ends it, and fills it up."""


@pytest.mark.parametrize("arguments", [{}, {"beam": 3}, {"sample": True}, {"no_repeat": 1}])
def test_captions_end_where_one_token_begins_ends_and_pads(arguments):
    torch.manual_seed(0)
    decoder = GruDecoder(16, GPT, dim=8).eval()
    decoder.output.bias.data[GPT.eos_id] = 1.0
    generated = generate(decoder, MEMORY, max_length=100, **arguments)
    assert generated.tokens.shape[1] < 100
    assert (generated.tokens[:, -1] == GPT.eos_id).all()
    ended = until_end(generated.tokens, GPT.eos_id)
    assert ended.sum(1).equal((generated.tokens != GPT.eos_id).sum(1) + 1)  # after the first end comes nothing else
    begun = torch.cat([torch.full((8, 1), GPT.bos_id), generated.tokens[:, :-1]], dim=1)
    each = decoder(MEMORY, begun).logits.log_softmax(-1).gather(2, generated.tokens[..., None])[..., 0]
    torch.testing.assert_close((each * ended).sum(1), generated.log_probs, rtol=1e-4, atol=1e-4)


def test_every_token_may_begin_a_caption_that_may_be_empty():
    assert widest_beam(GPT) == GPT.size
    assert widest_beam(Vocabulary()) == Vocabulary().size - 2
