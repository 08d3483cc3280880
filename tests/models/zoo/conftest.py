"""What parity tests share: the fixtures of published modules, where they are, and the tolerances."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from idc_models.contract import Decoder, Fused, Outputs
from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parents[4] / "shared" / "parity"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Words:
    """The tokens of a published model: their special ids are not ours."""

    size: int
    pad_id: int
    bos_id: int
    eos_id: int
    max_length: int = 12

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(map(str, ids))


@dataclass(frozen=True)
class Published:
    """A published module at small width: its state, what went in, what came out, and gradients of the total loss."""

    state: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    grads: dict[str, Tensor]
    meta: dict[str, Any]

    def grid(self, side: str) -> Tensor:
        """Give `before` or `after` as our fusions take it: b gh gw d."""
        return self.inputs[side].permute(0, 2, 3, 1)


@pytest.fixture
def published() -> Callable[[str], Published]:
    """Reads a fixture of a published module, or skips the test."""

    def read(name: str) -> Published:
        path = FOLDER / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"{path} is not there; the other tests compare with a plain reference of their own")
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            meta = {key: json.loads(value) for key, value in file.metadata().items()}
        kinds = [
            {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            for start in ("state/", "inputs/", "outputs/", "grads/")
        ]
        return Published(*kinds, meta)

    return read


@pytest.fixture
def words() -> type[Words]:
    return Words


@pytest.fixture
def agree() -> Callable[..., None]:
    """Asserts that tensors are equal to 1e-5."""

    def check(ours: Tensor, theirs: Tensor, name: str = "") -> None:
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0, msg=lambda told: f"{name}: {told}")

    return check


@pytest.fixture
def agree_in_gradients() -> Callable[..., None]:
    """Asserts that gradients are equal to 1e-5 of the largest entry of each."""

    def check(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
        assert theirs and ours.keys() >= theirs.keys()
        for name, expected in theirs.items():
            off = (ours[name] - expected).abs().max() / expected.abs().max()
            assert off <= TOLERANCE, f"the gradient of {name} is off by {off:.2g} of its largest entry"

    return check


@pytest.fixture
def outputs() -> Callable[..., Outputs]:
    """What objectives look at, for one caption a pair and no two pairs alike."""

    def make(fused: Fused, decoder: Decoder, tokens: Tensor, lengths: Tensor) -> Outputs:
        num = len(tokens)
        same, captions = torch.eye(num, dtype=torch.bool), [[decoder.vocab.decode(row)] for row in tokens.tolist()]
        return Outputs(fused, decoder, tokens, lengths, torch.arange(num), same, captions, same)

    return make
