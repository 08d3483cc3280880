"""Makes a caption agree with the probability that anything changed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from idc_models.contract import Decoder
from idc_models.decoding import generate, until_end, widest_beam

_BEAM = 8
"""Beam of the search for a caption that agrees: the most likely beginnings may all belong to no-change sentences."""


@torch.no_grad()
def agreeing(
    decoder: Decoder,
    memory: Float[Tensor, "b m e"],
    tokens: Int[Tensor, "b k l"],
    log_probs: Float[Tensor, "b k"],
    changed: Float[Tensor, " b"],
    unchanged: Sequence[Sequence[int]],
    *,
    max_length: int | None = None,
    length_penalty: float = 0.0,
    no_repeat: int = 0,
) -> tuple[Int[Tensor, "b k n"], Float[Tensor, "b k"]]:
    """Make the first caption of each pair agree with the probability that anything changed.

    That probability sums over all no-change sentences, whereas a caption competes alone: "there is no difference" may
    be the most likely caption although changes are more likely in total. If the probability is at least 0.5, the first
    caption must describe a change; otherwise it must be a no-change sentence. It is the best such caption in `tokens`,
    or else the best one found by a search. Captions cut off at the length limit are left as they are.

    Args:
        decoder: In eval mode.
        memory: What the decoder attends to.
        tokens: The generated captions, best first.
        log_probs: Log-probability of each caption.
        changed: The probability that anything changed.
        unchanged: The no-change sentences, as token ids without bos, with eos.
        max_length: Maximum number of tokens of a caption, including eos.
        length_penalty: As in `generate`.
        no_repeat: Likewise.
    """
    vocab = decoder.vocab
    limit = vocab.max_length - 1 if max_length is None else max_length
    sentences = {tuple(caption) for caption in unchanged if len(caption) <= limit}
    rows = tokens.tolist()
    for row, captions in enumerate(rows):
        tells = bool(changed[row] >= 0.5)
        ended = [_ended(caption, vocab.eos_id) for caption in captions]
        fits = [place for place, caption in enumerate(ended) if caption and (caption not in sentences) == tells]
        if ended[0] is None or 0 in fits:
            continue
        if fits:
            order = [fits[0], *(place for place in range(len(captions)) if place != fits[0])]
            tokens[row], log_probs[row] = tokens[row, order], log_probs[row, order]
            continue
        own = memory[row : row + 1]
        if tells:
            beam = min(_BEAM, widest_beam(vocab))
            found = generate(
                decoder,
                own,
                beam=beam,
                max_length=limit,
                length_penalty=length_penalty,
                no_repeat=no_repeat,
                forbidden=sorted(sentences),
            )
            caption, log_prob = found.tokens, found.log_probs
        elif sentences:
            caption, log_prob = _likeliest(decoder, own, sorted(sentences))
        else:
            continue
        tokens = _wide_enough(tokens, caption.shape[1], vocab.pad_id)
        first = _wide_enough(caption, tokens.shape[2], vocab.pad_id)
        tokens[row] = torch.cat([first, tokens[row, :-1]])
        log_probs[row] = torch.cat([log_prob, log_probs[row, :-1]])
    return tokens, log_probs


def _ended(caption: Sequence[int], eos_id: int) -> tuple[int, ...] | None:
    """Return a caption up to eos; None if it was cut off."""
    return tuple(caption[: caption.index(eos_id) + 1]) if eos_id in caption else None


def _wide_enough(tokens: Int[Tensor, "... l"], length: int, pad_id: int) -> Int[Tensor, "... n"]:
    return torch.nn.functional.pad(tokens, (0, max(0, length - tokens.shape[-1])), value=pad_id)


def _likeliest(
    decoder: Decoder, memory: Float[Tensor, "1 m e"], captions: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "1 l"], Float[Tensor, "1"]]:
    """Return the most likely of the given captions, and its log-probability."""
    vocab = decoder.vocab
    rows = [torch.tensor([vocab.bos_id, *caption], device=memory.device) for caption in captions]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=vocab.pad_id)
    logits = decoder(memory.expand(len(tokens), -1, -1), tokens[:, :-1]).logits.float()
    each = logits.log_softmax(2).gather(2, tokens[:, 1:, None])[..., 0]
    totals = (each * until_end(tokens[:, 1:], vocab.eos_id)).sum(1)
    best = int(totals.argmax())
    return tokens[best : best + 1, 1:], totals[best : best + 1]
