"""Frozen pre-trained weights: a checkpoint holds their origin and hashes instead of the weights.

The checkpoint of a language model with a few trained matrices then holds only these matrices.
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
    """Weights of a part that `Part.load_pretrained` loads and training does not change."""

    origin: str
    """Where they are loaded from, as returned by `Part.origin`."""
    sha256: Mapping[str, str]
    """Hash of each tensor, by its name in the part."""
    sums: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Checksums of tensors whose hash was verified: while the sum is the same, they are not hashed again."""


def frozen_weights(part: Part) -> Frozen | None:
    """Return the weights that a part has loaded and will not train; None if there are none."""
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
    """Remove frozen weights from a model's `state_dict`; weights that changed since they were loaded are kept.

    Args:
        weights: The `state_dict` of the whole model.
        frozen: Its frozen weights, by part.

    Returns:
        The remaining weights, and a description of the removed ones.
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
    """Load frozen weights into a part, compare their hashes with a checkpoint's, and return them.

    Args:
        part: The part, with any weights.
        name: Its name, for error messages.
        frozen: Origin and hashes from the checkpoint.

    Raises:
        ValueError: The weights cannot be loaded, or have changed.
    """
    where = f"{frozen.origin!r} (current folder: {str(Path.cwd())!r})"
    remedy = "restore it there, or use the registered model of the run, which holds all weights"
    try:
        part.load_pretrained()
    except Exception as error:  # any library may be behind it
        cause = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the checkpoint does not hold the frozen weights of the {name}; they come from {where}, and cannot be "
            f"loaded ({cause}): {remedy}"
        ) from error
    state = part.state_dict()
    other = [key for key, digest in frozen.sha256.items() if key not in state or _sha256(state[key]) != digest]
    if other:
        raise ValueError(
            f"the checkpoint does not hold the frozen weights of the {name}; they come from {where}, where the weights "
            f"now differ from those of the training ({other[0]} and {len(other) - 1} more): {remedy}"
        )
    return {key: state[key] for key in frozen.sha256}


def to_plain(frozen: Mapping[str, Frozen]) -> dict[str, Any]:
    """Convert frozen weights to plain values for a checkpoint's metadata."""
    return {name: {"origin": part.origin, "sha256": dict(part.sha256)} for name, part in frozen.items()}


def from_plain(plain: Mapping[str, Any]) -> dict[str, Frozen]:
    """Restore frozen weights from the result of `to_plain`.

    Raises:
        ValueError: The values are damaged.
    """
    try:
        found = {
            name: Frozen(str(part["origin"]), {str(key): str(digest) for key, digest in part["sha256"].items()})
            for name, part in plain.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its entry of frozen weights is damaged ({type(error).__name__}: {error})") from error
    if strange := found.keys() - {"encoder", "fusion", "decoder"}:
        raise ValueError(f"its frozen weights belong to {min(strange)!r}, expected encoder, fusion or decoder")
    return found


def _is_still(frozen: Frozen, key: str, value: Tensor) -> bool:
    """Return whether a tensor still has its hash, which is computed only once: a run saves many checkpoints."""
    total = _sum(value)
    if key not in frozen.sums:
        if _sha256(value) != frozen.sha256[key]:
            return False
        frozen.sums[key] = total
    return frozen.sums[key] == total


def _sum(value: Tensor) -> int:
    """Sum the bytes of a tensor on its device, in words of 8 bytes, which is as fast as memory is read."""
    plain = value.detach().contiguous().flatten().view(torch.uint8)
    if plain.storage_offset() % 8:  # PyTorch requires alignment to view 8 bytes as one number
        plain = plain.clone()
    whole = len(plain) // 8 * 8
    return int(plain[:whole].view(torch.int64).sum()) + int(plain[whole:].sum())


def _sha256(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(plain.numpy().data).hexdigest()
