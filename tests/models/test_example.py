"""The example distribution is installed as a user would install it, and found by its entry point."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "idc-decoder-bow"


def command(*words, **environment):
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.slow
def test_a_third_party_decoder(tmp_path):
    target = str(tmp_path / "installed")
    if uv := shutil.which("uv"):
        install = [uv, "pip", "install", "--python", sys.executable]
    else:
        install = [sys.executable, "-m", "pip", "install"]
    done = command(*install, "--no-deps", "--target", target, str(EXAMPLE))
    assert done.returncode == 0, done.stderr

    idc_models = str(Path(sys.executable).parent / "idc-models")
    listed = command(idc_models, "list", PYTHONPATH=target, COLUMNS="200")
    (row,) = [line for line in listed.stdout.splitlines() if "bag-of-memory" in line]
    assert row.split()[:3] == ["decoder", "bag-of-memory", "idc-decoder-bow"]

    checked = command(idc_models, "check", "bag-of-memory", PYTHONPATH=target)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("ok  ") == 12
