"""Loading models of transformers: how they are identified, checked, kept in memory and released."""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from idc_data.hub import without_retries_logged

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

_LOGGER = logging.getLogger(__name__)
_LOADED: dict[Any, tuple[Any, Any]] = {}
_EXTRA = 'uv pip install "./packages/idc-data[quantized]"'
Item = TypeVar("Item")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Weights:
    """A model by name or folder, and how it is loaded.

    Attributes:
        model: A name on the Hugging Face hub, or a folder that `save_pretrained` wrote.
        revision: A branch, tag or commit on the hub.
        device: `auto` is a GPU if there is one, else the CPU.
        dtype: `auto` is bfloat16 on a GPU and float32 on a CPU.
        device_map: How accelerate spreads the model over devices, such as `auto`; None puts all of it on `device`.
        four_bit: Quantize the weights to 4 bits (NF4) while loading, with bitsandbytes.
    """

    model: str
    revision: str = "main"
    device: str = "auto"
    dtype: Dtype = "auto"
    device_map: str | None = None
    four_bit: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What answers depend on: the files of a folder or the name and revision on the hub, and the precision."""
        folder = Path(self.model)
        named: dict[str, Any] = (
            {"weights": content_hash(folder)} if folder.is_dir() else {"model": self.model, "revision": self.revision}
        )
        if self.dtype != "auto":
            named["dtype"] = self.dtype
        return named | ({"four_bit": True} if self.four_bit else {})

    def check(self, *, chat: bool = False) -> None:
        """Check that the model can be loaded, by its configuration alone.

        Args:
            chat: It also needs a chat template.

        Raises:
            ValueError: It cannot be found, or lacks a chat template or a package that the settings need.
        """
        from transformers import AutoConfig, AutoTokenizer

        if missing := [name for name in self._packages() if not find_spec(name)]:
            raise ValueError(f"model {self.model!r}: its settings need {' and '.join(missing)}: {_EXTRA}")
        where: dict[str, Any] = {"revision": self.revision}
        try:
            with without_retries_logged():
                AutoConfig.from_pretrained(self.model, **where)
                template = AutoTokenizer.from_pretrained(self.model, **where).chat_template if chat else "none needed"
            if not template:
                raise ValueError("it has no chat template; choose an instruction-tuned model")
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"model {self.model!r} cannot be used: {reason}") from error

    def load(self, model_class: str, processor_class: str) -> tuple[Any, Any]:
        """Load model and processor, or take them from memory if they were loaded before.

        Args:
            model_class: Of transformers, such as `AutoModelForCausalLM`.
            processor_class: Of transformers, such as `AutoTokenizer`.

        Raises:
            OSError: The model cannot be found.
        """
        key = (self, model_class)
        if key not in _LOADED:
            _LOADED[key] = self._read(model_class, processor_class)
        return _LOADED[key]

    @without_retries_logged()
    def _read(self, model_class: str, processor_class: str) -> tuple[Any, Any]:
        import transformers

        processor: Any = getattr(transformers, processor_class).from_pretrained(self.model, revision=self.revision)
        device = choose_device(self.device)
        dtype = getattr(torch, self.dtype) if self.dtype != "auto" else _dtype(device)
        options: dict[str, Any] = {"revision": self.revision, "dtype": dtype}
        if self.device_map or self.four_bit:
            options["device_map"] = self.device_map or {"": device}
        if self.four_bit:
            options["quantization_config"] = transformers.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
            )
        model: Any = getattr(transformers, model_class).from_pretrained(self.model, **options)
        if model.can_generate():
            tokenizer = getattr(processor, "tokenizer", processor)
            tokenizer.padding_side = "left"
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            if model.generation_config.pad_token_id is None:
                model.generation_config.pad_token_id = tokenizer.pad_token_id
        return model.eval() if "device_map" in options else model.eval().to(device), processor

    def _packages(self) -> list[str]:
        placed = ["accelerate"] if self.device_map or self.four_bit else []
        return placed + (["bitsandbytes"] if self.four_bit else [])


def release() -> None:
    """Release all loaded models, so that the next stage has the memory of the GPU to itself."""
    _LOADED.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def choose_device(device: str) -> torch.device:
    """Return the device of this name; `auto` is a GPU if there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def _dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def content_hash(path: Path) -> str:
    """Hash a file, or names and contents of the files in a folder, as 16 hex digits.

    Hidden files and those in Markdown are left out.

    Raises:
        OSError: There is no such file.
    """
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    states = [(file, file.stat()) for file in files if file.suffix != ".md" and not file.name.startswith(".")]
    return _content_hash(tuple((str(file), state.st_size, state.st_mtime_ns) for file, state in states))


@cache  # by name, size and time: a folder of 6 GB takes seconds
def _content_hash(files: tuple[tuple[str, int, int], ...]) -> str:
    total = sha256()
    for name, *_ in files:
        with Path(name).open("rb") as file:
            total.update(f"{Path(name).name}\0{file_digest(file, 'sha256').hexdigest()}\0".encode())
    return total.hexdigest()[:16]


class Halving:
    """Does work on as many items at a time as fit in memory.

    Where memory runs out the number of items is halved, and stays so for the work that follows.
    """

    def __init__(self) -> None:
        self._most: int | None = None

    def __call__(self, work: Callable[[Sequence[Item]], list[Done]], items: Sequence[Item]) -> list[Done]:
        """Do the work on all items.

        Args:
            work: Takes items, and returns a result of each.
            items: All of them.

        Returns:
            The results, in the order of the items.

        Raises:
            ValueError: Memory does not even suffice for one item.
        """
        results: list[Done] = []
        while len(results) < len(items):
            some = items[len(results) :][: self._most]
            try:
                results += work(some)
                continue
            except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises a plain one
                if not _out_of_memory(error):
                    raise
                if len(some) == 1:
                    raise ValueError(
                        f"out of memory with a single item ({str(error).splitlines()[0]}); try a smaller model, "
                        "four_bit: true, or device_map: auto"
                    ) from None
            # Outside of the handler, whose traceback would hold the tensors.
            self._most = len(some) // 2
            _LOGGER.warning("out of memory with %d at a time: going on with %d", len(some), self._most)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return results


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
