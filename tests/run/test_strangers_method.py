"""A stranger's method: one distribution with all it needs, in a fresh environment, trained by a spec that names it."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from idc_models.testing import check_decoder, check_fusion, check_objective

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/idc-surprise"
SHORT = ("data.dataset={name: scenes, train_pairs: 8, val_pairs: 4, test_pairs: 4}", "data.image_size=32",
         "data.batch_size=4", "data.workers=0", "train.epochs=1", "train.device=cpu", "eval.metrics=[bleu]",
         "eval.select=bleu-4", "tracking=off")  # fmt: skip


@pytest.mark.slow
def test_the_example_keeps_the_contract():
    found = importlib.util.spec_from_file_location("idc_surprise", EXAMPLE / "src/idc_surprise/__init__.py")
    assert found and found.loader
    plugin = importlib.util.module_from_spec(found)
    found.loader.exec_module(plugin)
    check_fusion(plugin.Surprise)
    check_decoder(plugin.Glance)
    check_objective(plugin.Calm, fusion=plugin.Surprise)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="no uv on the PATH")
def test_it_is_installed_and_trained_in_a_fresh_environment(tmp_path):
    programs = tmp_path / "env" / "bin"
    run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "env")
    members = [f"{ROOT}/packages/{name}" for name in ("idc-data[scenes]", "idc-models", "idc-eval")]
    install = ("uv", "pip", "install", "--quiet", "--python", programs / "python", "-c", ROOT / "constraints.txt")
    run(*install, *members, ROOT, cwd=ROOT)
    run(*install, "--no-deps", EXAMPLE, cwd=ROOT)
    assert "idc-surprise" in run(programs / "idc-models", "list", cwd=tmp_path)
    (tmp_path / "mlruns").mkdir()  # or one of a folder above would be taken
    overrides = [word for setting in SHORT for word in ("-s", setting)]
    run(programs / "idc-run", EXAMPLE / "surprise.yaml", *overrides, cwd=tmp_path)
    (checkpoint,) = (tmp_path / "mlruns").rglob("best.safetensors")
    pair = [ROOT / f"examples/pairs/{side}.png" for side in ("before", "after")]
    assert run(programs / "idc-caption", checkpoint, *pair, cwd=tmp_path) is not None


def run(*command, cwd=ROOT):
    ended = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
