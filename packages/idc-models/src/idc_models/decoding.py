"""Generates captions with any decoder: greedy search, beam search or sampling."""

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
    """Generate one caption for each memory.

    Hypotheses are ranked by log P / length ** length_penalty, where length counts the tokens including eos. Finished
    hypotheses stay in the beam and compete with the others. Log-probabilities in the result are those at temperature 1.
    Padding and bos are never generated, unless they equal eos.

    Args:
        decoder: In eval mode, unless dropout is wanted.
        memory: What the decoder attends to.
        beam: Number of hypotheses kept for each memory; 1 is greedy search.
        max_length: Maximum number of tokens of a caption, including eos; by default the vocabulary's limit.
        length_penalty: 0 ranks by probability, which favours short captions; 1 by log-probability per token.
        sample: Sample each token instead of searching.
        temperature: Sampling temperature; below 1, likely tokens are preferred even more.
        top_k: Sample from the k most likely tokens only; 0 samples from all.
        generator: Source of randomness for sampling.
        draws: Numbers in [0, 1) to sample with instead, one per token: a caption then does not depend on its batch.
        no_repeat: Never repeat a sequence of n tokens within a caption; 0 allows repeats. Source: Paulus et al., A Deep
            Reinforced Model for Abstractive Summarization, ICLR 2018.
        forbidden: Captions that must not be generated, as token ids without bos, with eos.

    Raises:
        ValueError: An argument is out of range, or both sampling and a beam are requested.
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
    totals[:, 0] = 0.0  # all hypotheses are equal at first: continue only one

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
        log_probs[..., vocab.pad_id].masked_fill_(finished, 0.0)  # eos is followed by padding, which costs nothing
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
    """Return the initial state, and the part of it that the hypotheses of a pair share: one row per pair."""
    if decoder.of_memory is None or beam == 1:
        return decoder.start(memory.repeat_interleave(beam, dim=0)), {}
    state, start = decoder.start(memory), decoder.of_memory
    own = {name: value.repeat_interleave(beam, dim=0) for name, value in state.items() if not name.startswith(start)}
    return own, {name: value for name, value in state.items() if name.startswith(start)}


def widest_beam(vocab: TokenSpace) -> int:
    """Return the largest possible beam: the number of tokens that a caption can begin with."""
    return vocab.size - len(_never(vocab))


def until_end(tokens: Int[Tensor, "*b l"], eos_id: int) -> Bool[Tensor, "*b l"]:
    """Return a mask that is True up to and including the first eos; captions are without bos."""
    ends = tokens == eos_id
    return ends.cumsum(-1) - ends.long() == 0


def _never(vocab: TokenSpace) -> list[int]:
    """List the tokens that no caption contains."""
    return sorted({vocab.pad_id, vocab.bos_id} - {vocab.eos_id})


def _without_repeats(
    log_probs: Float[Tensor, "b k v"], tokens: Int[Tensor, "b k l"], num: int
) -> Float[Tensor, "b k v"]:
    """Rule out tokens that would repeat a sequence of `num` tokens of the hypothesis."""
    grams = tokens.unfold(2, num, 1)
    latest = tokens[:, :, None, tokens.shape[2] - num + 1 :]
    again = (grams[..., :-1] == latest).all(3)
    hits = torch.zeros_like(log_probs).scatter_add_(2, grams[..., -1], again.to(log_probs))
    return log_probs.masked_fill(hits > 0, -torch.inf)


def _draw(log_probs: Tensor, temperature: float, top_k: int, luck: Tensor) -> Tensor:
    """Sample one token per row, `b 1`, by inverting the cumulative distribution at the row's number."""
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
        raise ValueError(f"beam is {beam!r} and sample is true; sampling needs a beam of 1")
    if no_repeat < 0:
        raise ValueError(f"no_repeat is {no_repeat!r}; expected a number of tokens, or 0 to allow repeats")
    if temperature <= 0 or top_k < 0:
        raise ValueError(
            f"temperature is {temperature!r} and top_k is {top_k!r}; expected a temperature above 0 and a top_k of 0 "
            "or more"
        )
