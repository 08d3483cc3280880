"""Training and captioning speed of the methods of experiments/zoo.yaml, as ratios to the baseline in the same run.

    uv run benchmarks/methods.py [FOLDER]

All methods use the grids of one frozen encoder, which are precomputed. Timed are fusion, decoder, objectives and
optimizer step, and for captions fusion and greedy decoding with random weights, up to twelve tokens. Methods and
baseline alternate; a ratio is the median over the rounds of the ratio to the baseline in the same round.
"""

import os
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from idc_data.batch import Batch
from idc_data.loader import train_batches
from idc_models.captioner import Captioner
from idc_models.decoding import generate

from idc_run.space import with_values
from idc_run.spec import load_values, make_spec
from idc_run.training.data import open_data
from idc_run.training.optim import build_optimizer
from idc_run.training.ready import build, prepare

SPEC = Path(__file__).resolve().parents[1] / "experiments/zoo.yaml"
ROUNDS, BASELINE = 5, "baseline"


def main() -> None:
    """Print a table of ratios."""
    given = [f"data.dataset={sys.argv[1]}"] if sys.argv[1:] else ["data.dataset={name: scenes, train_pairs: 64}"]
    values = load_values(SPEC, [*given, "data.features=null", "train.start=null"])
    methods = values["sweep"]["space"]["method"]["together"]
    made = {name: prepared(with_values(values, sets)) for name, sets in methods.items()}
    train: dict[str, list[float]] = {name: [] for name in made}
    write: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(ROUNDS + 1):
        for name, (model, batch, optimizer) in made.items():
            train[name].append(len(batch.ids) / timed(lambda: step(model, batch, optimizer)))  # noqa: B023
            write[name].append(len(batch.ids) / timed(lambda: caption(model, batch)))  # noqa: B023
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, one thread; CPU time, medians of {ROUNDS} rounds")
    print("| method | parameters | training pairs/s | to the baseline | captions/s | to the baseline |")
    print("|---|---|---|---|---|---|")
    for name, (model, *_) in made.items():
        count = sum(weights.numel() for weights in model.parameters())
        cells = (
            f"{median(each[1:]):,.0f} | {ratio(each, base):.2f} x"
            for each, base in ((train[name], train[BASELINE]), (write[name], write[BASELINE]))
        )
        print(f"| {name} | {count:,} | {' | '.join(cells)} |")


def prepared(values: dict) -> tuple[Captioner, Batch, torch.optim.Optimizer]:
    """Build a model, and one batch with grids instead of images."""
    spec = make_spec(values)
    device = prepare(spec)
    data = open_data(spec)
    model = build(spec, data.tokenizer, device)
    (batch,) = islice(train_batches(data.train, data.tokenizer, spec.data, seed=spec.seed), 1)
    with torch.no_grad():
        before, after = model.eval().encode(batch.before, batch.after)
    model.kept = tuple(before.shape[1:])
    return model, replace(batch, before=before, after=after), build_optimizer(model, spec.train.optimizer)


def step(model: Captioner, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    """Do one training step."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    model.loss(batch)["loss"].backward()
    optimizer.step()


def caption(model: Captioner, batch: Batch) -> None:
    """Caption every pair."""
    model.eval()
    with torch.no_grad():
        generate(model.decoder, model.fuse(batch.before, batch.after).memory, max_length=12)


def timed(work) -> float:  # noqa: ANN001
    """Measure the CPU time of the process, which depends little on other processes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def ratio(values: list[float], base: list[float]) -> float:
    """Compare two methods round by round, without the first round, which warms up."""
    return median(value / other for value, other in zip(values[1:], base[1:], strict=True))


if __name__ == "__main__":
    main()
