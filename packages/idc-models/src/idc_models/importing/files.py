"""Reads groups of tensors from published checkpoints of any class, without running code in them."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

#: Location in a file -> name in a module -> tensor.
Groups = dict[str, dict[str, Tensor]]

_NUMPY = {
    **{f"numpy.{core}.multiarray.scalar": np.array(0.0)[()].__reduce__()[0] for core in ("core", "_core")},
    "numpy.dtype": np.dtype,
}
"""Types of NumPy scalars, such as scores that some checkpoints hold in addition to the weights."""


def read_content(path: Path) -> Any:
    """Read a file of PyTorch or safetensors.

    Objects that are neither tensors nor plain values, such as whole modules or settings, become plain dictionaries of
    their contents: their code is neither needed nor run.

    Raises:
        ValueError: The file is missing or damaged, or has another format.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {str(path)!r}; expected a file of torch.save or safetensors")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is not a readable safetensors file ({error}); is the download complete?"
            ) from error
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # an unknown file can raise anything
        names = []  # from PyTorch before 1.6, or not a PyTorch file: torch.load finds out
    stand_ins: list[Any] = [
        *((made, name) for name, made in _NUMPY.items()),
        *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
        *((OrderedDict, name) for name in names if name not in _NUMPY),
    ]
    try:
        with safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling an unknown file can raise anything
        cause = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
        cause = " ".join(cause.split())[:200]
        if names or "GLOBAL" in cause:
            raise ValueError(
                f"{path} holds Python objects, not a state dict ({cause}); where their code is installed, run "
                "torch.save({name: module.state_dict() for each module}, FILE), and import FILE"
            ) from error
        what = f"{type(error).__name__}: {cause or 'it ends early'}"
        raise ValueError(
            f"{path} is not a readable file of torch.save or safetensors ({what}); is the download complete?"
        ) from error


def groups_of(content: Any, where: str = "") -> Groups:
    """Collect the groups of tensors in a file's content by their location; "" is the top level."""
    groups: Groups = {}
    if held := _module(content):
        return {where: dict(held)}
    if not isinstance(content, Mapping):
        return groups
    for name, value in content.items():
        if isinstance(value, Tensor):
            groups.setdefault(where, {})[str(name)] = value
        else:
            groups |= groups_of(value, f"{where}/{name}".removeprefix("/"))
    return groups


def vocabularies_of(content: Any) -> list[Mapping[str, int]]:
    """Collect mappings in a file that may be vocabularies: word -> id."""
    if not isinstance(content, Mapping) or not content:
        return []
    if all(isinstance(word, str) and type(index) is int for word, index in content.items()):
        return [content]
    return [found for value in content.values() for found in vocabularies_of(value)]


def read_vocabulary(path: Path) -> Any:
    """Read a vocabulary's JSON.

    Raises:
        ValueError: There is no such file, or it is not JSON.
    """
    if not path.is_file():
        raise ValueError(f"no vocabulary at {str(path)!r}; expected JSON: {{word: id}}, or a list of words by id")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the vocabulary {path} is not JSON ({error})") from error


def _module(content: Any, start: str = "") -> dict[str, Tensor]:
    """Return the state of a pickled module, from the attributes of its stand-in."""
    held: Any = getattr(content, "__dict__", {})
    if "_parameters" not in held or "_modules" not in held:
        return {}
    return {f"{start}{name}": value for name, value in _own(held)} | {
        name: value
        for child, module in held["_modules"].items()
        if module is not None
        for name, value in _module(module, f"{start}{child}.").items()
    }


def _own(held: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    passing = held.get("_non_persistent_buffers_set") or ()
    for name, value in [*held["_parameters"].items(), *held.get("_buffers", {}).items()]:
        if isinstance(value, Tensor) and name not in passing:
            yield name, value.detach()
