"""Published methods in our loop, against a plain loop like the published ones with the same weights, in one run.

    uv run benchmarks/zoo.py

Timed at the published widths: a training step of SCORER (from grids of 14 x 14 cells, as its authors store them;
losses: captions and matches; Adam) for 16 and 64 pairs with one caption each, and for 16 pairs with four, where the
plain loop treats each caption as a separate item; greedy decoding of one pair with the same model; and RSICCformer's
decoder with a beam of five for one pair. The script fails if losses, gradients or captions differ. Times are CPU
seconds on one thread, which depend less on other processes; the load is printed.
"""

import json
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import click
import torch
from idc_data.batch import Batch
from idc_models.captioner import Captioner
from idc_models.contract import TokenSpace
from idc_models.decoders.post_norm import PostNormDecoder
from idc_models.decoding import generate
from idc_models.spec import ModelSpec, build_captioner
from idc_models.zoo import PublishedTokens
from plain_loop import LENGTH, SIDE, Plain, plain_beam
from torch import Tensor, nn

from idc_run.spec import OptimizerSpec
from idc_run.training.optim import build_optimizer

SPEC = {
    "encoder": {"name": "cnn", "widths": [8, 1024]},  # unused: the inputs are grids
    "fusion": {"name": "scorer", "dim": 512, "coordinates": True, "grid_side": SIDE},
    "decoder": {"name": "lean-transformer", "dim": 512},
}
WEIGHTS = {"caption": 1.0, "cross-view": 0.1}


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Of each thing, ours and the plain one in turn.")
def main(rounds: int) -> None:
    """Compare the loops at the published widths."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vocab = PublishedTokens(76, 0, 2, 3, LENGTH)
    model = build_captioner(ModelSpec.model_validate(SPEC), vocab, WEIGHTS)
    model.encoder.requires_grad_(False)
    model.kept = (SIDE, SIDE, 1024)
    plain = Plain(model)
    for pairs, captions in ((16, 1), (16, 4), (64, 1)):
        step(model.train(), plain, pairs, captions, rounds)
    greedily(model.eval(), plain, rounds)
    with_a_beam(rounds)
    click.echo(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}))


def greedily(model: Captioner, plain: Plain, rounds: int) -> None:
    """Time greedy decoding of a pair."""
    vocab, memory = model.decoder.vocab, torch.randn(1, SIDE * SIDE, 512).relu()
    silence(model.decoder, vocab)
    compare(
        "SCORER, greedy, 23 words",
        lambda: generate(model.decoder, memory, max_length=LENGTH - 1).tokens,
        lambda: plain.greedy(memory, vocab.bos_id),
        rounds,
    )


def with_a_beam(rounds: int) -> None:
    """Time beam search for one pair, for typical and maximum caption lengths."""
    vocab = PublishedTokens(501, 0, 499, 500)
    decoder, memory = PostNormDecoder(1024, vocab, layers=1, heads=8).eval(), torch.randn(1, SIDE * SIDE, 1024)
    silence(decoder, vocab)
    for words in (12, 50):
        compare(
            f"RSICCformer, beam 5, {words} words",
            lambda words=words: generate(decoder, memory, beam=5, max_length=words).tokens,
            lambda words=words: plain_beam(decoder, memory, 5, words, 52),
            rounds,
        )


def silence(decoder: Any, vocab: TokenSpace) -> None:
    """Make a decoder with random weights write captions of maximum length."""
    decoder.output.bias.data[vocab.eos_id] = -100.0


def step(model: Captioner, plain: Plain, pairs: int, captions: int, rounds: int) -> None:
    """Time a step with random grids and captions."""
    before, after = torch.randn(2, pairs, 1024, SIDE, SIDE).relu()
    tokens = torch.randint(4, 76, (pairs * captions, LENGTH))
    lengths = torch.randint(10, LENGTH + 1, (len(tokens),))
    tokens[:, 0] = 2
    for row, length in enumerate(lengths.tolist()):
        tokens[row, length - 1 :] = 0
        tokens[row, length - 1] = 3
    pair, same = torch.arange(pairs).repeat_interleave(captions), torch.eye(pairs, dtype=torch.bool)
    batch = Batch(
        [""] * pairs,
        before.permute(0, 2, 3, 1).contiguous(),
        after.permute(0, 2, 3, 1).contiguous(),
        tokens,
        lengths,
        pair,
        same,
        same,
        references=[()] * pairs,
        changed=[True] * pairs,
        change_types=[""] * pairs,
        facts=[],
    )

    def ours() -> Tensor:
        return model.loss(batch)["loss"]

    def theirs() -> Tensor:  # every caption is an item with its own images
        return plain.loss(before[pair], after[pair], tokens, lengths)

    parameters = [weights for weights in model.parameters() if weights.requires_grad]
    if pairs * captions == 16:
        alike(model, parameters, ours, theirs)
    optimizers = {
        ours: build_optimizer(model, OptimizerSpec(name="adam", lr=1e-6, weight_decay=0.0)),
        theirs: torch.optim.Adam(parameters, lr=1e-6),
    }

    def learn(loss: Callable[[], Tensor]) -> None:
        value = loss()
        optimizers[loss].zero_grad()
        value.backward()
        if loss is ours:
            torch.nn.utils.clip_grad_norm_(parameters, 1e9)
        optimizers[loss].step()

    race(f"SCORER, step, {pairs} pairs x {captions}", lambda: learn(theirs), lambda: learn(ours), rounds)


def alike(model: Captioner, parameters: list[nn.Parameter], *ways: Callable[[], Tensor]) -> None:
    """Check that both have the same loss and gradients."""
    model.eval()
    losses = [way() for way in ways]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(*(torch.autograd.grad(loss, parameters) for loss in losses), strict=True):
        off = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-3))  # some are zero up to rounding
        assert off < 1e-4, f"gradients are off by {off:.2g} of the largest entry"
    model.train()


def compare(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor], rounds: int) -> None:
    """Time two functions that must return the same."""
    assert torch.equal(ours(), theirs()), f"{name}: they write different captions"
    race(name, theirs, ours, rounds)


def race(name: str, theirs: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    """Time two functions alternately; the ratio is that of their medians."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, run in zip(took, (theirs, ours), strict=True):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
    plain, mine = (median(times) * 1e3 for times in took)
    spread = ", ".join(f"{min(times) * 1e3:.0f} to {max(times) * 1e3:.0f}" for times in took)
    click.echo(f"{name:32s} plain {plain:8.0f} ms, ours {mine:8.0f} ms, {plain / mine:6.2f} x  ({spread})")


if __name__ == "__main__":
    main()
