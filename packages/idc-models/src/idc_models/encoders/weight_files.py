"""Reads files of weights, and converts names of other libraries to those of timm."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from idc_models.importing.files import groups_of, read_content

_OF_TORCH = (".pth", ".pt", ".bin", ".tar")

_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""Layers before and after the blocks of an EfficientNet: name in efficientnet-pytorch -> name in timm."""
_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
}
_EXPANDING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
"""Names in a block with expansion; a block without has two convolutions and two batch norms."""
_NARROW = {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def read_weights(path: str) -> dict[str, Tensor]:
    """Read a file of weights, without running code in it.

    Args:
        path: A `.safetensors` file, an `.npz` with one array per entry of a state dict, or a file of `torch.save`
            (`.pth`, `.pt`, `.bin`, `.tar`). If the file has several state dicts, for example under "state_dict", the
            largest is used; DataParallel's "module." is removed from its names.

    Returns:
        Tensors by their names in the module.

    Raises:
        ValueError: The file has another format, or is truncated.
        OSError: The file cannot be read.
    """
    suffix = Path(path).suffix
    if suffix in _OF_TORCH:
        groups = groups_of(read_content(Path(path)))
        if not groups:
            raise ValueError(f"weights {path!r} hold no tensors; expected a state dict")
        largest = max(groups.values(), key=len)
        return {name.removeprefix("module."): value for name, value in largest.items()}
    if suffix not in (".safetensors", ".npz"):
        raise ValueError(f"weights are {path!r}: expected a .safetensors, an .npz or a .pth file")
    try:
        if suffix == ".npz":
            with np.load(path) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        return load_file(path)
    except (zipfile.BadZipFile, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"weights {path!r} are not a {suffix} file, or it is truncated: {error}") from error


def with_timm_names(model: nn.Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of the `efficientnet-pytorch` family to timm's names; others are not changed.

    Args:
        model: A model of timm; the number of blocks in its stages tells to which stage a block of the file belongs.
        given: Weights by name. The published EfficientNet-Lite files have names such as `_blocks.3._bn0.weight`.
    """
    stages: Any = getattr(model, "blocks", None)
    if "_conv_stem.weight" not in given or stages is None:
        return dict(given)
    places = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    return {_renamed(name, places, given): value for name, value in given.items()}


def _renamed(name: str, places: list[str], given: Mapping[str, Tensor]) -> str:
    if not (matched := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)):
        first, _, rest = name.partition(".")
        return f"{_AROUND.get(first, first)}.{rest}"
    number, layer, kind = int(matched[1]), matched[2], matched[3]
    if number >= len(places):
        return name  # the network is larger than the model: the name is reported as not fitting
    names = _BLOCK | (_EXPANDING if f"_blocks.{number}._expand_conv.weight" in given else _NARROW)
    return f"{places[number]}.{names.get(layer, layer)}.{kind}"
