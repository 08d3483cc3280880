"""Time and memory to open, shuffle and read a metadata.jsonl with a million lines.

All lines name the same two images. Each step runs in its own process, which reports its peak memory.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from subprocess import run

LINES = 1_000_000


def _write(root: Path, lines: int) -> None:
    from PIL import Image

    (root / "train").mkdir(parents=True)
    for name in ("before", "after"):
        Image.new("RGB", (8, 8)).save(root / f"train/{name}.png")
    row = {"before_file_name": "before.png", "after_file_name": "after.png", "changed": True, "change_type": "move"}
    row["references"] = [f"the {size} red metal cube moved to the left of the ball" for size in ("small", "large")]
    with (root / "train/metadata.jsonl").open("w") as file:
        for number in range(lines):
            file.write(json.dumps({"id": f"train-{number:07d}", **row}) + "\n")


def _step(step: str, root: Path) -> None:
    from idc_data.layout import Folder

    before, began, worked = _mib(), time.perf_counter(), time.process_time()
    reader = Folder("train", root=root)
    if step in ("shuffle", "read"):
        order = list(range(len(reader)))
        began, worked = time.perf_counter(), time.process_time()
        Random(0).shuffle(order)
        if step == "read":
            began, worked = time.perf_counter(), time.process_time()
            for index in order:
                reader[index]
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    needed = f"{_mib() - before:6.0f} MiB beyond the {before:.0f} MiB of the libraries"
    print(f"{step:8}{seconds:9.2f} s, of them {worked:8.2f} s of CPU {needed}", flush=True)


def _mib() -> float:
    """Return the peak memory of this process, including pages of mapped files."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _step(sys.argv[1], Path(sys.argv[2]))
        sys.exit()
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    print(f"{lines:,} lines; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), lines)
        for step in ("build", "open", "shuffle", "read"):  # the first makes the index
            run([sys.executable, __file__, step, folder], check=True)
