from dataclasses import dataclass

import pytest
import torch
from idc_models.testing import Vocabulary
from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    before: Tensor
    after: Tensor
    tokens: Tensor
    lengths: Tensor
    pair: Tensor
    shared: Tensor
    references: list[list[str]]
    scene: Tensor


@pytest.fixture(autouse=True)
def reproducible():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def vocab() -> Vocabulary:
    return Vocabulary()


@pytest.fixture
def batch() -> PairBatch:
    """Three pairs of images and four captions: the first pair has two, and no two pairs share a reference."""
    tokens = [[1, 4, 5, 6, 2, 0], [1, 4, 5, 2, 0, 0], [1, 7, 8, 9, 10, 2], [1, 11, 2, 0, 0, 0]]
    before, after = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    same, pair = torch.eye(3).bool(), torch.tensor([0, 0, 1, 2])
    said = [Vocabulary().decode(row) for row in tokens]
    references = [said[:2], said[2:3], said[3:]]
    return PairBatch(before, after, torch.tensor(tokens), torch.tensor([5, 4, 6, 3]), pair, same, references, same)
