"""An import is there whole or not at all, and refuses images that it should not read."""

import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib

import pytest
from click.testing import CliRunner
from idc_data.cli import main

KILLS = int(os.environ.get("IDC_KILLS") or 3)
IMPORT = """
import os, signal, sys
moment, out, done = int(sys.argv[1]), sys.argv[2], 0
def count(event, arguments):
    global done
    if event in ("open", "os.mkdir", "os.rename", "os.rmdir", "shutil.rmtree") and out in str(arguments[0]):
        done += 1
        if done == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
from idc_data.cli import main
main(sys.argv[3:], standalone_mode=False)
print(done)
"""


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(put, root):
    """A table of six pairs in each of three splits."""
    for split in ("train", "val", "test"):
        rows = [f"{split}{n}a.png,{split}{n}b.png,the ball moved {n}" for n in range(6)]
        put(f"{split}.csv", "\n".join(["before,after,caption", *rows]))
        for n in range(6):
            put(f"{split}{n}a.png")
            put(f"{split}{n}b.png")
    return root


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * KILLS)
@pytest.mark.parametrize("there", [False, True], ids=["new", "into a folder"])
def test_killed_at_any_moment_an_import_begun_again_gives_the_same_bytes(source, tmp_path, there):
    """`IDC_KILLS=20 uv run pytest -s -n 0 -m slow tests/data/readers/test_import.py` kills at 20 moments of each."""
    out, complete = tmp_path / "out/set", tmp_path / "complete/set"

    def write(target, moment=0):
        if there:
            target.mkdir(parents=True, exist_ok=True)
        arguments = [str(moment), str(target.parent), "import", "table", str(source), str(target), "--overwrite"]
        return subprocess.run([sys.executable, "-c", IMPORT, *arguments], capture_output=True, text=True, check=False)

    ended = write(complete)
    assert ended.returncode == 0, ended.stderr
    moments = int(ended.stdout.splitlines()[-1])  # each file or folder that it opens, makes, renames or removes
    assert moments > 40
    for moment in random.Random(0).choices(range(1, moments + 1), k=KILLS):
        assert write(out, moment).returncode == -signal.SIGKILL
        left = len(contents(out.parent))
        assert there or not out.exists() or contents(out) == contents(complete)
        assert write(out).returncode == 0
        assert contents(out.parent) == contents(complete.parent)
        print(f"killed at {moment} of {moments}, {left} files left behind; begun again, the same {len(contents(out))}")
        shutil.rmtree(out.parent)


def bomb(path):
    """A PNG of 30,000 x 30,000 pixels in some hundred bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def elsewhere(path):
    path.rename(path.parent.with_name("secret.png"))
    path.symlink_to("../secret.png")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            lambda path: path.with_name("train.csv").write_text("before,after,caption\n../x.png,b.png,c"),
            r"'\.\./x\.png' lies outside of",
        ),
        (elsewhere, r"train2a\.png.* link to .*secret\.png"),
        (bomb, r"train2a\.png' .*(30000 x 30000|900000000|900,000,000)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), r"train2a\.png' is damaged"),
    ],
    ids=["a path that leaves the root", "a link out of the root", "a decompression bomb", "a truncated PNG"],
)
def test_an_image_that_may_not_be_read_is_named_and_nothing_is_written(source, tmp_path, harm, said):
    harm(source / "train2a.png")
    ended = CliRunner().invoke(main, ["import", "table", str(source), str(tmp_path / "out")])
    (line,) = ended.output.strip().splitlines()
    assert ended.exit_code != 0 and re.search(said, line), line
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
