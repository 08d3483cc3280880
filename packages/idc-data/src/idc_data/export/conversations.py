"""Conversations about two images, one per reference, for tools that fine-tune large models."""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from idc_data.example import ChangeExample
from idc_data.export.parquet import png, write_rows
from idc_data.images import load_pair
from idc_data.layout import write_layout
from idc_data.rows import METADATA, read_rows
from idc_data.whole import whole, write_whole

_Splits = Mapping[str, Iterable[ChangeExample]]


def write_swift(out: Path, splits: _Splits, prompt: str) -> list[Path]:
    """Write ms-swift's JSON lines: `messages`, and `images` relative to the folder (`ROOT_IMAGE_DIR`)."""
    return _write_lines(out, splits, prompt)


def write_llama_factory(out: Path, splits: _Splits, prompt: str) -> list[Path]:
    """Write LLaMA-Factory's JSON lines and the dataset_info.json that describes them; the folder is `dataset_dir`."""
    files = _write_lines(out, splits, prompt)
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    about = {
        f"{out.resolve().name}_{path.stem}": {
            "file_name": path.name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": tags,
        }
        for path in files
    }
    write_whole(out / "dataset_info.json", json.dumps(about, indent=2).encode())
    return [*files, out / "dataset_info.json"]


def write_trl(out: Path, splits: _Splits, prompt: str) -> list[Path]:
    """Write TRL's prompt and completion as Parquet, including the images."""
    pa = importlib.import_module("pyarrow")
    message = pa.list_(
        pa.struct(
            {
                "content": pa.list_(pa.struct({"text": pa.string(), "type": pa.string()})),
                "role": pa.string(),
            }
        )
    )
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = {"prompt": message, "completion": message, "images": pa.list_(image)}
    features = {"images": {"_type": "List", "feature": {"_type": "Image"}}}
    return [
        write_rows(out / f"{split}-00000-of-00001.parquet", schema, features, _dialogues(examples, prompt))
        for split, examples in splits.items()
    ]


def _dialogues(examples: Iterable[ChangeExample], prompt: str) -> Iterator[dict[str, Any]]:
    asked = [{"type": "image", "text": None}] * 2 + [{"type": "text", "text": prompt}]
    for example in examples:
        images = [{"bytes": png(pixels), "path": None} for pixels in load_pair(example.before, example.after)]
        for reference in example.references:
            answer = [{"role": "assistant", "content": [{"type": "text", "text": reference}]}]
            yield {"prompt": [{"role": "user", "content": asked}], "completion": answer, "images": images}


def _write_lines(out: Path, splits: _Splits, prompt: str) -> list[Path]:
    """Write the images and metadata in our own layout, and a file of conversations for each split."""
    files = []
    write_layout(out, (example for examples in splits.values() for example in examples))
    for split in splits:
        path = out / f"{split}.jsonl"
        with whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
            for _, row in read_rows(out / split / METADATA):
                images = [f"{split}/{name}" for name in (row.before_file_name, row.after_file_name)]
                for reference in row.references:
                    messages = [
                        {"role": "user", "content": f"<image><image>{prompt}"},
                        {"role": "assistant", "content": reference},
                    ]
                    file.write(json.dumps({"messages": messages, "images": images}, ensure_ascii=False) + "\n")
        files.append(path)
    return files
