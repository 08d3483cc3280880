"""What the files of others hold: groups of tensors, whatever class they were pickled as; nothing in them is run."""

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

#: Tensors by their names in a module, by where in a file they are.
Groups = dict[str, dict[str, Tensor]]

_NUMPY = {
    **{f"numpy.{core}.multiarray.scalar": np.array(0.0)[()].__reduce__()[0] for core in ("core", "_core")},
    "numpy.dtype": np.dtype,
}
"""What scores are made of, which some checkpoints hold beside the weights."""


def read_content(path: Path) -> Any:
    """Read a file of PyTorch or safetensors.

    Objects of other classes than tensors and plain values, such as whole modules or settings, become plain
    dictionaries with what they held: no code is needed for them, and none is run.

    Raises:
        ValueError: there is no such file, it is damaged, or it is of another kind.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {str(path)!r}; expected a file of torch.save or safetensors")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no readable safetensors file ({error}); is the download complete?") from error
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # reading what somebody wrote can raise anything
        names = []  # a file of PyTorch before 1.6, or none: torch.load says which
    stand_ins: list[Any] = [
        *((made, name) for name, made in _NUMPY.items()),
        *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
        *((OrderedDict, name) for name in names if name not in _NUMPY),
    ]
    try:
        with safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling what somebody wrote can raise anything
        cause = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
        cause = " ".join(cause.split())[:200]
        if names or "GLOBAL" in cause:
            raise ValueError(
                f"{path} holds Python objects, not a state dict ({cause}); where their code is installed, write "
                "torch.save({name: module.state_dict() for each module}, FILE), and import that file"
            ) from error
        what = f"{type(error).__name__}: {cause or 'it ends early'}"
        raise ValueError(
            f"{path} is no readable file of torch.save or safetensors ({what}); is the download complete?"
        ) from error


def groups_of(content: Any, where: str = "") -> Groups:
    """Collect the groups of tensors in a file's content, by where they are in it: "" for those at its top."""
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
    """Collect what in a file may be a vocabulary: words with their ids."""
    if not isinstance(content, Mapping) or not content:
        return []
    if all(isinstance(word, str) and type(index) is int for word, index in content.items()):
        return [content]
    return [found for value in content.values() for found in vocabularies_of(value)]


def read_vocabulary(path: Path) -> Any:
    """Read a vocabulary's JSON.

    Raises:
        ValueError: there is none.
    """
    if not path.is_file():
        raise ValueError(f"no vocabulary at {str(path)!r}; expected JSON: {{word: id}}, or the words in their order")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the vocabulary {path} is no JSON ({error})") from error


def _module(content: Any, start: str = "") -> dict[str, Tensor]:
    """The state of a module that was pickled whole: what stands in for it has its attributes."""
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
