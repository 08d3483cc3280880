"""Latency of a model."""

from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from idc_run.checkpoint import load_checkpoint

_PAIRS = 20


def latency(checkpoint: Path) -> float:
    """Return the median time for a pair in milliseconds, over 20 pairs captioned one at a time on the CPU, greedily."""
    kept = load_checkpoint(checkpoint)
    model = kept.build().eval()
    size = kept.spec.data.image_size
    pairs = torch.randint(0, 256, (_PAIRS + 2, 2, 1, 3, size, size), dtype=torch.uint8)
    took = []
    for before, after in pairs:
        began = perf_counter()
        model.generate(before, after)
        took.append(1000 * (perf_counter() - began))
    return median(took[2:])  # the first ones warm up
