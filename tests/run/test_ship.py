"""`scripts/ship.py`: a trained model becomes one that ships with idc-models; and what the built package holds."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_models import load
from idc_models.checkpoint import MODEL
from idc_models.serving.inference import PairCaptioner
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture
def ship(registered, tmp_path, monkeypatch):
    """The script, its command on the tiny model, and the folder that it is to write to."""
    found = importlib.util.spec_from_file_location("ship", ROOT / "scripts/ship.py")
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "ship", module)  # its dataclass looks itself up there
    found.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    arguments = [str(registered.result.checkpoint), "own", "--folder", "shipped", "--pairs", "6"]
    return module, lambda *more: CliRunner().invoke(module.ship, [*arguments, *more]), tmp_path / "shipped"


@pytest.mark.slow
def test_a_shipped_model_answers_as_its_checkpoint_and_has_a_card(ship, registered):
    module, run, folder = ship
    ended = run()
    assert ended.exit_code == 0, ended.output
    assert sorted(path.name for path in folder.iterdir()) == ["own.md", "own.safetensors"]
    reader = open_reader("scenes", "test", image_size=48)
    pairs = [(reader[row].before, reader[row].after) for row in range(3)]
    small = {name: value.numel() < module.LARGE for name, value in load_file(registered.result.checkpoint).items()}
    assert all(small.values()), "nothing of a model this tiny is halved, so all answers stay"
    assert PairCaptioner(folder / "own.safetensors").caption(pairs) == PairCaptioner(
        registered.result.checkpoint
    ).caption(pairs)
    assert load(folder / "own.safetensors").caption(*pairs[0])
    card = (folder / "own.md").read_text(encoding="utf-8")
    size = (folder / "own.safetensors").stat().st_size
    assert (
        'idc_models.load("own")' in card and f"{size:,} bytes" in card and "0 of 6 validation captions differ" in card
    )
    assert "uv run idc-run experiments/" in card and "| rouge-l | " in card


@pytest.mark.slow
def test_large_matrices_are_halved_and_what_only_training_needs_is_left_out(ship, registered, monkeypatch):
    module, run, folder = ship
    monkeypatch.setattr(module, "LARGE", 500)
    ended = run("--most-different", "1")  # what half precision does to captions of a model this tiny is not the point
    assert ended.exit_code == 0, ended.output
    before, after = load_file(registered.result.checkpoint), load_file(folder / "own.safetensors")
    assert after.keys() <= before.keys() and not any(name.startswith("training/") for name in after)
    halves = {name for name, value in after.items() if name.startswith(MODEL) and value.dtype == torch.float16}
    assert halves == {name for name in after if name.startswith(MODEL) and after[name].numel() >= 500} and halves
    assert all(after[name].equal(before[name].to(after[name].dtype)) for name in after)


def test_what_is_too_large_is_refused_and_nothing_is_written(ship, monkeypatch):
    module, run, folder = ship
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    ended = run()
    assert ended.exit_code == 2 and "bytes in half precision; expected at most 1,000" in ended.stderr
    assert not folder.exists()


def test_what_answers_otherwise_is_refused_and_nothing_is_written(ship, monkeypatch):
    module, run, folder = ship
    monkeypatch.setattr(module, "compare", lambda *_: module.Fidelity(6, 3, 0.1, 0.1))
    ended = run()
    assert ended.exit_code == 2 and "in half precision 3 of 6 captions are other ones" in ended.stderr
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="no uv on the PATH")
def test_the_built_package_holds_the_shipped_models_and_their_cards(tmp_path):
    source = tmp_path / "idc-models"  # a build may leave something behind
    shutil.copytree(ROOT / "packages/idc-models", source, ignore=shutil.ignore_patterns("__pycache__"))
    ended = subprocess.run(
        ["uv", "build", "--quiet", "--out-dir", tmp_path / "dist", source], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    (wheel,), (archive,) = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as built, tarfile.open(archive) as packed:
        held = {Path(name).name: built.read(name) for name in built.namelist() if "/shipped/" in name}
        sources = {Path(each.name).name for each in packed if "/shipped/" in each.name}
    shipped = {path.name: path.read_bytes() for path in (source / "src/idc_models/shipped").iterdir()}
    assert held == shipped and sources == shipped.keys()
    assert {"scenes.safetensors", "scenes.md"} <= shipped.keys()
