"""Each package alone, and with each of its extras, in an environment of its own; from an index or from uv's cache."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uv") is None, reason="no uv on the PATH"),
]

#: What is installed, the package that has to import whole, and the parts of it that stand behind an extra.
INSTALLS = [
    ("idc-data", "idc_data", ("generate", "scenes")),
    ("idc-data[hf]", "idc_data", ("generate", "scenes")),
    ("idc-data[scenes]", "idc_data", ("generate",)),
    ("idc-data[generate]", "idc_data", ("scenes",)),
    ("idc-data[ray,scenes]", "idc_data", ()),
    ("idc-models", "idc_models", ("serving.guard",)),
    ("idc-models[align,serve]", "idc_models", ()),
    ("idc-eval", "idc_eval", ("rating",)),
    ("idc-eval[rate]", "idc_eval", ()),
    ("idc-eval[learned,rate]", "idc_eval", ()),
]

IMPORT_ALL = """
import importlib, pkgutil, sys
package, without = sys.argv[1], sys.argv[2:]
for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
    if module.name.removeprefix(package + ".") not in without and module.name.split(".")[1] not in without:
        importlib.import_module(module.name)
"""
CAPTION = """
from idc_models import load
print(load("scenes").caption("examples/pairs/before.png", "examples/pairs/after.png"))
"""


@pytest.mark.parametrize(("wanted", "package", "without"), INSTALLS, ids=[each[0] for each in INSTALLS])
def test_it_imports_and_helps_with_what_it_declares(wanted, package, without, tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "env")
    # No package is on an index, so what one needs of the others is named with it.
    members = ["./packages/idc-data"] if package == "idc_models" else []
    run(
        "uv", "pip", "install", "--quiet", "--python", python, *members, f"./packages/{wanted}", "-c", "constraints.txt"
    )
    run(python, "-W", "ignore", "-c", IMPORT_ALL, package, *without)
    assert "Usage: " in run(python.with_name(package.replace("_", "-")), "--help")
    if package == "idc_models":
        assert run(python, "-c", CAPTION).strip().startswith("the ")


def run(*command):
    ended = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
