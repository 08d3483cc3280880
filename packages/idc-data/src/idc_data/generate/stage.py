"""Stage files: the rows of each stage as Parquet, beside a JSON file of the settings and inputs they depend on."""

import json
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from idc_data.whole import write_whole

Rows = list[dict[str, Any]]


def identity(value: Any) -> str:
    """Hash plain values: the same for the same content, 16 hex digits."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Stages:
    """The stage files of one generation, in a folder.

    A file is read again as long as its settings and inputs are the same, and made anew when they change. A stage that
    is killed leaves no file.

    Args:
        folder: Of the files; it is created if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def make(
        self, name: str, made_from: dict[str, Any], schema: pa.Schema, make: Callable[[], tuple[Rows, dict[str, Any]]]
    ) -> tuple[Rows, dict[str, Any]]:
        """Read the stage's rows, or make and write them.

        Args:
            name: Of the files: `<name>.parquet` and `<name>.json`.
            made_from: Settings and identities of inputs: all that the rows depend on.
            schema: Of the rows.
            make: Returns the rows, and notes for the provenance (yields, problems).

        Returns:
            The rows, and the provenance: `made_from`, its `identity`, the number of rows, seconds, and the notes.
        """
        path, me = self.folder / f"{name}.parquet", identity(made_from)
        if path.is_file():
            table = pq.read_table(path)
            provenance = json.loads((table.schema.metadata or {}).get(b"idc", b"{}"))
            if provenance.get("identity") == me:
                return table.to_pylist(), {**provenance, "reused": True}
        began = time.monotonic()
        rows, notes = make()
        seconds = round(time.monotonic() - began, 3)
        provenance = {"stage": name, "identity": me, "made_from": made_from, "rows": len(rows), "seconds": seconds}
        provenance |= notes
        text = json.dumps(provenance, default=str)
        table = pa.Table.from_pylist(rows, schema).replace_schema_metadata({"idc": text})
        write_whole(self.folder / f"{name}.json", json.dumps(provenance, indent=2, default=str).encode())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_whole(path, sink.getvalue().to_pybytes())
        return table.to_pylist(), {**json.loads(text), "reused": False}
