"""Frozen weights that a part loads from elsewhere: a checkpoint says where from and keeps their hashes, not themselves.

Of a language model of which only a few matrices are trained, a checkpoint then holds these few.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idc_models.contract import Part


@dataclass(frozen=True)
class Frozen:
    """Weights of a part that training leaves as `Part.load_pretrained` has loaded them."""

    origin: str
    """What they are loaded from, as `Part.origin` says."""
    sha256: Mapping[str, str]
    """Of each tensor, by its name in the part."""
    sums: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Of tensors whose hash was found to be this: while the sum stays, they are not hashed again."""


def frozen_weights(part: Part) -> Frozen | None:
    """Find what a part has just loaded and will not train; None if it has nothing of the kind."""
    origin = part.origin()
    fixed = {name for name, weight in part.named_parameters(remove_duplicate=False) if not weight.requires_grad}
    if origin is None or not fixed:
        return None
    for name, module in part.named_modules():
        if not any(weight.requires_grad for weight in module.parameters(recurse=False)):
            fixed |= {f"{name}.{buffer}".removeprefix(".") for buffer, _ in module.named_buffers(recurse=False)}
    state = part.state_dict()
    return Frozen(origin, {name: _sha256(state[name]) for name in sorted(fixed & state.keys())})


def without_frozen(
    weights: Mapping[str, Tensor], frozen: Mapping[str, Frozen]
) -> tuple[dict[str, Tensor], dict[str, Frozen]]:
    """Take frozen weights out of a model's `state_dict`; what has changed since it was loaded stays in.

    Args:
        weights: Of the whole model.
        frozen: By the name of the part.

    Returns:
        The other weights, and what was taken out.
    """
    others, taken = dict(weights), {}
    for name, part in frozen.items():
        same = {key: digest for key, digest in part.sha256.items() if _is_still(part, key, weights[f"{name}.{key}"])}
        for key in same:
            del others[f"{name}.{key}"]
        if same:
            taken[name] = replace(part, sha256=same)
    return others, taken


def load_frozen(part: Part, name: str, frozen: Frozen) -> dict[str, Tensor]:
    """Load frozen weights again, into a part and to return them, and compare them with what a checkpoint says.

    Args:
        part: Has its settings, and any weights.
        name: What it is, for errors.
        frozen: What the checkpoint says.

    Raises:
        ValueError: They cannot be had, or are others by now.
    """
    where = f"{frozen.origin!r}, looked for from {str(Path.cwd())!r}"
    remedy = "put it back there, or take the registered model of the run, which holds all weights"
    try:
        part.load_pretrained()
    except Exception as error:  # any library may be behind it
        cause = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the frozen weights of the {name} are not in the checkpoint; they come from {where}, and cannot be loaded "
            f"({cause}): {remedy}"
        ) from error
    state = part.state_dict()
    other = [key for key, digest in frozen.sha256.items() if key not in state or _sha256(state[key]) != digest]
    if other:
        raise ValueError(
            f"the frozen weights of the {name} are not in the checkpoint; they come from {where}, which holds other "
            f"weights than those of the training ({other[0]} and {len(other) - 1} more): {remedy}"
        )
    return {key: state[key] for key in frozen.sha256}


def to_plain(frozen: Mapping[str, Frozen]) -> dict[str, Any]:
    """Give plain values for a checkpoint's metadata."""
    return {name: {"origin": part.origin, "sha256": dict(part.sha256)} for name, part in frozen.items()}


def from_plain(plain: Mapping[str, Any]) -> dict[str, Frozen]:
    """Make what `to_plain` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        found = {
            name: Frozen(str(part["origin"]), {str(key): str(digest) for key, digest in part["sha256"].items()})
            for name, part in plain.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"what it says of frozen weights is damaged ({type(error).__name__}: {error})") from error
    if strange := found.keys() - {"encoder", "fusion", "decoder"}:
        raise ValueError(f"it says that weights of {min(strange)!r} are frozen, expected encoder, fusion or decoder")
    return found


def _is_still(frozen: Frozen, key: str, value: Tensor) -> bool:
    """Whether a tensor has the hash that it had; computed once, for a run saves many checkpoints."""
    total = _sum(value)
    if key not in frozen.sums:
        if _sha256(value) != frozen.sha256[key]:
            return False
        frozen.sums[key] = total
    return frozen.sums[key] == total


def _sum(value: Tensor) -> int:
    """The sum of all bits, 8 bytes at a time as far as they go: on its device, and as fast as memory is read."""
    plain = value.detach().contiguous().flatten().view(torch.uint8)
    if plain.storage_offset() % 8:  # PyTorch reads no larger numbers from there
        plain = plain.clone()
    whole = len(plain) // 8 * 8
    return int(plain[:whole].view(torch.int64).sum()) + int(plain[whole:].sum())


def _sha256(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(plain.numpy().data).hexdigest()
