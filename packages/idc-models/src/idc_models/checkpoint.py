"""Checkpoints as idc-run writes them, read with nothing but this package: to caption, not to train on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
"""What the names of the model's weights begin with."""

_LARGEST = 4096
"""Most pixels a side and most tokens of a caption: a damaged file asks for a million, and for all memory with it."""

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Contents:
    """What a checkpoint file holds, before anything is made of it.

    Attributes:
        path: the file.
        metadata: texts by name, most of them JSON.
        tensors: by their names in the file, such as `model/encoder.layers.0.weight`.
    """

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def text(self, name: str) -> str:
        """Give a text of the metadata.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self.metadata:
            raise ValueError(f"{self.path} is damaged: its metadata lack {name!r}; expected a file that idc-run wrote")
        return self.metadata[name]

    def plain(self, name: str, kind: type[_Kind], default: str | None = None) -> _Kind:
        """Give plain values of the metadata.

        Args:
            name: of the entry, which is JSON.
            kind: what it holds, such as dict.
            default: JSON to take where there is none: files of older versions lack what came later.

        Raises:
            ValueError: there is none, it is no JSON, or it holds something else.
        """
        text = self.text(name) if default is None else self.metadata.get(name, default)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path} is damaged: {name!r} in its metadata is no JSON ({error})") from error
        if not isinstance(value, kind):
            expected = f"{name!r} in its metadata is {text[:60]!r}, expected a JSON {kind.__name__}"
            raise ValueError(f"{self.path} is damaged: {expected}")
        return value

    def frozen(self) -> dict[str, Frozen]:
        """Give the weights that the file only names, by part.

        Raises:
            ValueError: its metadata are damaged.
        """
        try:
            return from_plain(self.plain("frozen", dict, "{}"))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Give the tensors whose names begin with a prefix, by the rest of their names."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Trained:
    """A model with its weights, in eval mode; its tokenizer, and what else the file tells.

    Attributes:
        model: on the CPU; of its objectives, which only training needs, there is nothing.
        tokenizer: what spells its captions.
        spec: the completed spec of the run, as plain values.
        unchanged: no-change sentences of the validation data; files of older versions have none.
        description: what it was trained on; files of older versions do not tell.
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
    """What is needed of a spec to caption."""

    model: ModelSpec
    data: _Data
    eval: _Eval


def open_checkpoint(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Contents:
    """Read a checkpoint file; nothing is built of it.

    Args:
        path: the file.
        wanted: which tensors to read, by name.

    Raises:
        ValueError: it is missing, damaged, or no checkpoint of this project.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {str(path)!r}; expected a .safetensors file that idc-run wrote")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in filter(wanted, file.keys())}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); is the download complete?") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}, as idc-run writes it")
    return Contents(path, metadata, tensors)


def write_contents(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint file, whole or not at all: a crash leaves the file of before.

    Raises:
        OSError: it cannot be written; the disk may be full.
    """
    # Copies, because tied weights are one storage under two names, which the format does not know.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    try:
        with whole(path) as unfinished:
            save_file(copies, unfinished, {"format": FORMAT, **metadata})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def read_checkpoint(path: Path) -> Trained:
    """Read a checkpoint that idc-run wrote.

    Raises:
        ValueError: it is none, it is damaged, or a plugin that it was trained with is not installed.
    """
    # What only training needs stays behind: the optimizer's moments, and objectives with their parameters.
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
            raise ValueError(f"its no-change sentences have words that its tokenizer lacks: {', '.join(unknown[:5])}")
        model = build_trained(needed.model, tokenizer, None, contents.under(MODEL), contents.frozen())
    except ValidationError as error:
        raise ValueError(f"{path}: its spec is of no use here: {faults(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Trained(model.eval(), tokenizer, spec, unchanged, read_description(contents))
