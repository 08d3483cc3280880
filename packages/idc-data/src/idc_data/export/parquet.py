"""Parquet including the images, for Hugging Face `datasets`: the columns `before` and `after` are images."""

import importlib
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from idc_data.example import ChangeExample
from idc_data.images import load_pair
from idc_data.whole import whole

_GROUP = 100
"""Rows held in memory at a time: an image of 1,000 x 1,000 pixels has some MB."""


def write_parquet(out: Path, split: str, examples: Iterable[ChangeExample]) -> list[Path]:
    """Write a split as one Parquet file.

    Regions are lists of four numbers; provenance and truth, whose fields differ between pairs, are JSON texts.
    """
    pa = _arrow()
    boxes = pa.list_(pa.list_(pa.float64()))
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = {"id": pa.string(), "before": image, "after": image, "references": pa.list_(pa.string())}
    schema |= {"changed": pa.bool_(), "change_type": pa.string(), "before_boxes": boxes, "after_boxes": boxes}
    schema |= {"provenance": pa.string(), "truth": pa.string()}
    features = {"before": {"_type": "Image"}, "after": {"_type": "Image"}}
    return [write_rows(out / f"{split}-00000-of-00001.parquet", schema, features, map(_row, examples))]


def write_rows(path: Path, schema: dict[str, Any], features: dict[str, Any], rows: Iterator[dict[str, Any]]) -> Path:
    """Write rows in groups, and record in the metadata which columns are images.

    Args:
        path: The file.
        schema: Column -> its Arrow type.
        features: Feature types, in the notation of `datasets`, of columns that it would misinterpret.
        rows: The rows.
    """
    pa = _arrow()
    described = {name: features.get(name) or _feature(pa, kind) for name, kind in schema.items()}
    note = json.dumps({"info": {"features": described}})
    table = pa.schema(schema.items()).with_metadata({"huggingface": note})
    with whole(path) as unfinished, importlib.import_module("pyarrow.parquet").ParquetWriter(unfinished, table) as file:
        while group := list(islice(rows, _GROUP)):
            file.write_table(pa.Table.from_pylist(group, schema=table))
    return path


def png(pixels: Any) -> bytes:
    """Encode pixels as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _row(example: ChangeExample) -> dict[str, Any]:
    before, after = (png(pixels) for pixels in load_pair(example.before, example.after))
    regions = example.regions
    return {
        "id": example.id,
        "before": {"bytes": before, "path": "before.png"},
        "after": {"bytes": after, "path": "after.png"},
        "references": list(example.references),
        "changed": example.changed,
        "change_type": example.change_type,
        "before_boxes": None if regions is None else [list(box) for box in regions.before],
        "after_boxes": None if regions is None else [list(box) for box in regions.after],
        "provenance": None if example.provenance is None else json.dumps(example.provenance),
        "truth": None if example.truth is None else json.dumps(example.truth),
    }


def _feature(pa: Any, kind: Any) -> dict[str, Any]:
    """Convert an Arrow type to the notation of `datasets`."""
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(pa, kind.value_type)}
    if pa.types.is_struct(kind):
        return {field.name: _feature(pa, field.type) for field in kind}
    return {"_type": "Value", "dtype": {"double": "float64"}.get(str(kind), str(kind))}


def _arrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: uv pip install './packages/idc-data[tables]'") from error
