"""Killed at any moment, with either engine, the same dataset comes out.

`IDC_KILLS=20 uv run pytest -s -n 0 -m slow tests/data/generate/test_kill.py` kills 20 times each; Ray takes a minute
each time.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

KILLS = os.environ.get("IDC_KILLS")
SPEC = """\
name: try
tracking: off
out: {out}
collect: {{name: folder, root: {photos}}}
pair: {{name: similar, embedding: thumbnail, low: 0.5, high: 0.9999}}
caption: {{name: blip, model: {blip}, batch_size: 1, beam: 1, sampled: 2, temperature: 2.0, max_new_tokens: 30}}
difference: {{name: rules}}
filter: {{min_words: 1}}
split: {{val: 0.34, test: 0.34}}
image_size: 32
engine: {engine}
"""


def dataset(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("*/*") if ".stages" not in path.parts}


@pytest.mark.slow
@pytest.mark.timeout(1800 + 600 * int(KILLS or 1))
@pytest.mark.parametrize(
    ("engine", "kills"), [("local", KILLS or 1), ("{name: ray, actors: 1}", KILLS or 0)], ids=["local", "ray"]
)
def test_kill_at_any_moment_and_the_same_dataset_comes_out(engine, kills, tmp_path, photos, blip):
    command = [sys.executable, "-c", "from idc_data.cli import main; main()", "generate"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    seconds = 0.0
    for name, folder in (("local", whole), (engine, out)):
        (tmp_path / "try.yaml").write_text(SPEC.format(out=folder, photos=photos, blip=blip, engine=name))
        if name == "local" and folder == out:
            break  # what is killed and goes on is compared below
        began = time.monotonic()
        subprocess.run([*command, str(tmp_path / "try.yaml")], check=True, capture_output=True)
        seconds = time.monotonic() - began
        assert dataset(folder) == dataset(whole)
    moments = random.Random(0)
    asked = 12 * 4  # an embedding and three captions of every image
    for _ in range(int(kills)):
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(
            [*command, str(tmp_path / "try.yaml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.2, 1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = answers(out)
        subprocess.run([*command, str(tmp_path / "try.yaml")], check=True, capture_output=True)
        assert dataset(out) == dataset(whole)
        print(f"killed with {len(kept)} of {asked} answers kept")
        after = answers(out)
        assert len(after) == asked and kept.items() <= after.items(), "what was said was not asked again"


def answers(folder):
    """Key -> (answer, seconds): the seconds would differ, had it been asked again."""
    path = folder / ".stages" / "answers.sqlite"
    if not path.is_file():
        return {}
    with sqlite3.connect(path) as database:
        try:
            return {key: rest for key, *rest in database.execute("SELECT key, answer, seconds FROM answers")}
        except sqlite3.OperationalError:
            return {}  # killed before there was a table
