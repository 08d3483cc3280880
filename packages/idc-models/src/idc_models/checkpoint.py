"""Checkpoint files: write them, and read them for captioning without the training code."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from idc_data.tokenizers import Tokenizer, read_tokenizer
from idc_data.whole import whole
from idc_data.wording import faults
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from idc_models.captioner import Captioner
from idc_models.description import EXAMPLES, FAMILIAR, Description, read_description
from idc_models.fitting import build_trained
from idc_models.frozen import Frozen, from_plain
from idc_models.spec import ModelSpec

FORMAT = "idc-checkpoint/1"
MODEL = "model/"
"""Prefix of the names of the model's weights."""

_SUMS = "checksums"
_LARGEST = 4096
"""Upper limit of image_size and max_length: a damaged file could ask for a million and use up all memory."""

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Contents:
    """The raw contents of a checkpoint file.

    Attributes:
        path: The file.
        metadata: Texts by name, most of them JSON.
        tensors: Tensors by their names in the file, such as `model/encoder.layers.0.weight`.
    """

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def text(self, name: str) -> str:
        """Return a text of the metadata.

        Raises:
            ValueError: There is none of this name.
        """
        if name not in self.metadata:
            raise ValueError(f"{self.path} is damaged: {name!r} is missing; expected a file that idc-run wrote")
        return self.metadata[name]

    def plain(self, name: str, kind: type[_Kind], default: str | None = None) -> _Kind:
        """Return a value that the metadata holds as JSON.

        Args:
            name: Name of the entry.
            kind: Its expected type, such as dict.
            default: JSON to use if the entry is missing, as in files of older versions.

        Raises:
            ValueError: The entry is missing, is not JSON, or has another type.
        """
        text = self.text(name) if default is None else self.metadata.get(name, default)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path} is damaged: {name!r} in its metadata is not JSON ({error})") from error
        if not isinstance(value, kind):
            expected = f"{name!r} in its metadata is {text[:60]!r}, expected a JSON {kind.__name__}"
            raise ValueError(f"{self.path} is damaged: {expected}")
        return value

    def frozen(self) -> dict[str, Frozen]:
        """Return the weights that the file only refers to, by part.

        Raises:
            ValueError: The metadata is damaged.
        """
        try:
            return from_plain(self.plain("frozen", dict, "{}"))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with a prefix, by the rest of their names."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Trained:
    """A trained model in eval mode, its tokenizer, and facts about its training.

    Attributes:
        model: On the CPU, without objectives, which only training needs.
        tokenizer: The tokenizer of its captions.
        spec: The completed spec of the run, as plain values.
        unchanged: No-change sentences of the validation data; empty in files of older versions.
        description: What it was trained on; None in files of older versions.
    """

    model: Captioner
    tokenizer: Tokenizer
    spec: dict[str, Any]
    unchanged: list[str]
    description: Description | None = None


class _Data(BaseModel):
    image_size: int = Field(strict=True, ge=8, le=_LARGEST)


class _Eval(BaseModel):
    beam: int = Field(strict=True, ge=1, le=100)
    length_penalty: float = Field(strict=True, ge=0)


class _Needed(BaseModel):
    """The fields of a spec that captioning needs."""

    model: ModelSpec
    data: _Data
    eval: _Eval


def open_checkpoint(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Contents:
    """Read a checkpoint file without building a model.

    Args:
        path: The file.
        wanted: Tells by name which tensors to read.

    Raises:
        ValueError: The file is missing or damaged, or is not a checkpoint of this project.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {str(path)!r}; expected a .safetensors file that idc-run wrote")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in filter(wanted, file.keys())}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}); is the download complete?") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}, as idc-run writes it")
    contents = Contents(path, metadata, tensors)
    sums = contents.plain(_SUMS, dict, "{}")  # files of older versions have none
    if wrong := [name for name, value in tensors.items() if sums.get(name, "") not in ("", _sum(value))]:
        raise ValueError(f"{path} is damaged: the checksum of {wrong[0]!r} does not match; use another copy")
    return contents


def write_contents(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint file completely or not at all: a crash leaves the previous file in place.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    # Copy, because tied weights are one storage under two names, which the format does not allow.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    try:
        with whole(path) as unfinished:
            sums = json.dumps({name: _sum(value) for name, value in copies.items()})
            save_file(copies, unfinished, {"format": FORMAT, **metadata, _SUMS: sums})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def _sum(tensor: Tensor) -> int:
    """Compute the CRC-32 of a tensor's bytes, which finds damage, not forgery."""
    return zlib.crc32(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))  # pyright: ignore[reportArgumentType]


def read_checkpoint(path: Path) -> Trained:
    """Read a checkpoint that idc-run wrote.

    Raises:
        ValueError: It is not a checkpoint, is damaged, or needs a plugin that is not installed.
    """
    # Skip what only training needs: the optimizer's moments and the objectives' parameters.
    needed_here = (MODEL, FAMILIAR, EXAMPLES)
    contents = open_checkpoint(
        path, lambda name: name.startswith(needed_here) and not name.startswith(f"{MODEL}objectives.")
    )
    spec, unchanged = contents.plain("spec", dict), contents.plain("unchanged", list, "[]")
    try:
        needed = _Needed.model_validate(spec)
        tokenizer = read_tokenizer(contents.text("tokenizer"))
        if tokenizer.max_length > _LARGEST:
            raise ValueError(f"its tokenizer's max_length is {tokenizer.max_length!r}, expected at most {_LARGEST}")
        if unknown := [word for sentence in unchanged for word in tokenizer.unknown(str(sentence))]:
            raise ValueError(f"its tokenizer lacks words of its no-change sentences: {', '.join(unknown[:5])}")
        model = build_trained(needed.model, tokenizer, None, contents.under(MODEL), contents.frozen())
    except ValidationError as error:
        raise ValueError(f"{path}: its spec is invalid: {faults(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Trained(model.eval(), tokenizer, spec, unchanged, read_description(contents))
