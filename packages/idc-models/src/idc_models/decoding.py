"""Writes captions token by token: greedily, with a beam, or by sampling; one search for every decoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from idc_models.contract import Decoder, Generated, State, TokenSpace


@torch.no_grad()
def generate(
    decoder: Decoder,
    memory: Float[Tensor, "b m e"],
    *,
    beam: int = 1,
    max_length: int | None = None,
    length_penalty: float = 0.0,
    sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    generator: torch.Generator | None = None,
    draws: Float[Tensor, "b n"] | None = None,
    no_repeat: int = 0,
    forbidden: Sequence[Sequence[int]] = (),
) -> Generated:
    """Writes the caption of each memory.

    A hypothesis is ranked by log P / length ** length_penalty, where length counts its tokens with eos. Finished
    hypotheses stay in the beam and compete with the others. Probabilities are the model's own at temperature 1; padding
    and bos are never chosen, unless one of them is eos too.

    Args:
        decoder: in eval mode, unless dropout is wanted.
        memory: what it attends to.
        beam: hypotheses kept for each memory; 1 is greedy.
        max_length: most tokens of a caption, eos included; by default what the decoder's vocabulary says.
        length_penalty: 0 ranks by probability, which favours short captions; 1 by probability per token.
        sample: draw each token instead of searching.
        temperature: of the draw; below 1 it is bolder.
        top_k: draw from the k likeliest tokens only; 0 draws from all.
        generator: source of the draw's randomness.
        draws: in its place, a number from 0 to below 1 for every token; a caption is then the same in any batch.
        no_repeat: no caption says the same n tokens twice (Paulus et al., A Deep Reinforced Model for Abstractive
            Summarization, ICLR 2018); 0 lets it.
        forbidden: captions that are not to be written, as token ids without bos, with eos.

    Raises:
        ValueError: an argument is out of range, or sampling is asked for with a beam.
    """
    vocab, batch, device = decoder.vocab, len(memory), memory.device
    limit = vocab.max_length - 1 if max_length is None else max_length
    _check(limit, beam, widest_beam(vocab), sample, temperature, top_k, no_repeat)
    never = torch.tensor(_never(vocab), dtype=torch.long, device=device)
    offsets = torch.arange(batch, device=device)[:, None] * beam

    state, kept = _begin(decoder, memory, beam)
    token = torch.full((batch, beam), vocab.bos_id, device=device)
    tokens = torch.empty(batch, beam, 0, dtype=torch.long, device=device)
    lengths = torch.zeros(batch, beam, dtype=torch.long, device=device)
    finished = torch.zeros(batch, beam, dtype=torch.bool, device=device)
    totals = torch.full((batch, beam), -torch.inf, device=device)
    totals[:, 0] = 0.0  # all hypotheses begin alike: only the first may be continued

    for position in range(limit):
        logits, state = decoder.step(state | kept, token.flatten())
        log_probs = logits.float().log_softmax(1).view(batch, beam, -1)
        log_probs = log_probs.index_fill(2, never, -torch.inf)
        if no_repeat and position >= no_repeat:
            log_probs = _without_repeats(log_probs, tokens, no_repeat)
        if ends := [caption[:-1] for caption in forbidden if len(caption) == position + 1]:
            begun = (tokens[:, :, None] == torch.tensor(ends, dtype=torch.long, device=device)).all(3).any(2)
            log_probs[..., vocab.eos_id].masked_fill_(begun, -torch.inf)
        log_probs = log_probs.masked_fill(finished[..., None], -torch.inf)
        log_probs[..., vocab.pad_id].masked_fill_(finished, 0.0)  # after eos comes padding, at no cost
        continued = totals[..., None] + log_probs
        if sample:
            luck = torch.rand(batch, generator=generator, device=device) if draws is None else draws[:, position]
            choice = _draw(log_probs[:, 0], temperature, top_k, luck)
        else:
            ended = lengths + (~finished).long()
            choice = (continued / ended[..., None] ** length_penalty).flatten(1).topk(beam, dim=1).indices
        source, token = choice // vocab.size, choice % vocab.size
        totals = continued.flatten(1).gather(1, choice)
        going = ~finished.gather(1, source)
        lengths = lengths.gather(1, source) + going
        tokens = torch.cat([tokens.gather(1, source[..., None].expand_as(tokens)), token[..., None]], dim=2)
        finished = ~going | (token == vocab.eos_id)
        if finished.all():
            break
        if beam > 1:
            moved = {name: value for name, value in state.items() if name not in kept}
            state = decoder.reorder(moved, (source + offsets).flatten())
    beams = (tokens, totals) if beam > 1 else (None, None)
    return Generated(tokens[:, 0], totals[:, 0], *beams)


def _begin(decoder: Decoder, memory: Tensor, beam: int) -> tuple[State, State]:
    """Give the state before the first token, and what of it every hypothesis of a pair shares: a row for each pair."""
    if decoder.of_memory is None or beam == 1:
        return decoder.start(memory.repeat_interleave(beam, dim=0)), {}
    state, start = decoder.start(memory), decoder.of_memory
    own = {name: value.repeat_interleave(beam, dim=0) for name, value in state.items() if not name.startswith(start)}
    return own, {name: value for name, value in state.items() if name.startswith(start)}


def widest_beam(vocab: TokenSpace) -> int:
    """Count the tokens that a caption can begin with, which is the most hypotheses that a beam can hold."""
    return vocab.size - len(_never(vocab))


def until_end(tokens: Int[Tensor, "*b l"], eos_id: int) -> Bool[Tensor, "*b l"]:
    """Tell captions from what follows them: True up to the first eos and on it; captions are without bos."""
    ends = tokens == eos_id
    return ends.cumsum(-1) - ends.long() == 0


def _never(vocab: TokenSpace) -> list[int]:
    """List the tokens that no caption contains."""
    return sorted({vocab.pad_id, vocab.bos_id} - {vocab.eos_id})


def _without_repeats(
    log_probs: Float[Tensor, "b k v"], tokens: Int[Tensor, "b k l"], num: int
) -> Float[Tensor, "b k v"]:
    """Forbids the tokens that would end a sequence of `num` which the hypothesis holds already."""
    grams = tokens.unfold(2, num, 1)
    latest = tokens[:, :, None, tokens.shape[2] - num + 1 :]
    again = (grams[..., :-1] == latest).all(3)
    hits = torch.zeros_like(log_probs).scatter_add_(2, grams[..., -1], again.to(log_probs))
    return log_probs.masked_fill(hits > 0, -torch.inf)


def _draw(log_probs: Tensor, temperature: float, top_k: int, luck: Tensor) -> Tensor:
    """Draws one token per row, `b 1`: the one whose share of the distribution holds the row's number."""
    if top_k:
        least = log_probs.topk(min(top_k, log_probs.shape[1]), dim=1).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < least, -torch.inf)
    shares = (log_probs.double() / temperature).softmax(1).cumsum(1)
    return (shares <= luck[:, None] * shares[:, -1:]).sum(1, keepdim=True)


def _check(limit: int, beam: int, widest: int, sample: bool, temperature: float, top_k: int, no_repeat: int) -> None:
    if limit < 1:
        raise ValueError(f"max_length is {limit!r}; expected 1 or more tokens")
    if not 1 <= beam <= widest:
        raise ValueError(f"beam is {beam!r}; expected 1 to {widest}, the number of tokens that can begin a caption")
    if sample and beam > 1:
        raise ValueError(f"beam is {beam!r} and sample is true; sampling writes one caption, set beam to 1")
    if no_repeat < 0:
        raise ValueError(f"no_repeat is {no_repeat!r}; expected 1 or more tokens that come once, or 0 for no such rule")
    if temperature <= 0 or top_k < 0:
        raise ValueError(f"temperature is {temperature!r} and top_k {top_k!r}; expected above 0, and 0 or more")
