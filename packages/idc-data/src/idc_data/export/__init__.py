"""Exports datasets for other tools: Parquet, WebDataset shards, and conversations to fine-tune large models."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from idc_data.example import ChangeExample
from idc_data.export.conversations import write_llama_factory, write_swift, write_trl
from idc_data.export.parquet import write_parquet
from idc_data.export.webdataset import write_webdataset

PROMPT = "The first image was taken before, the second after. Say in one sentence what changed."


def export(form: str, out: Path, splits: Mapping[str, Iterable[ChangeExample]], *, prompt: str = PROMPT) -> list[Path]:
    """Write a dataset in a format of another tool, into a new or empty folder.

    Each file is written completely or not at all.

    Args:
        form: parquet, webdataset, ms-swift, llama-factory or trl.
        out: The folder.
        splits: Split -> its examples, in the order of writing; iterators are consumed one by one.
        prompt: The question in conversations.

    Returns:
        The files, without images.

    Raises:
        ValueError: The folder is not empty, or an image is damaged.
    """
    if out.exists() and any(each for each in out.iterdir() if not _left(each)):
        raise ValueError(f"{str(out)!r} is not empty, expected a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    if form == "parquet":
        return [path for split, examples in splits.items() for path in write_parquet(out, split, examples)]
    if form == "webdataset":
        return [path for split, examples in splits.items() for path in write_webdataset(out, split, examples)]
    write = {"ms-swift": write_swift, "llama-factory": write_llama_factory, "trl": write_trl}[form]
    return write(out, splits, prompt)


def _left(path: Path) -> bool:
    """Return whether a file was left by an interrupted export."""
    return re.fullmatch(r"\..*\.tmp(\.\w+)?|\..*\.unfinished", path.name) is not None
