"""`data.features: cache`: what a frozen encoder makes of each image, computed once."""

import pytest
import torch
from idc_data.layout import write_layout
from idc_data.readers import open_reader

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.training import experiment

FROZEN = "model.encoder={name: cnn, widths: [8, 8], frozen: true}"


@pytest.fixture
def pairs(tmp_path):
    """A folder of sixteen pairs to learn from, six to validate on and four to test on."""
    for split, num in {"train": 16, "val": 6, "test": 4}.items():
        reader = open_reader({"name": "scenes", "val_pairs": 6, "test_pairs": 4}, split, image_size=32)
        write_layout(tmp_path / "pairs", [reader[index] for index in range(num)])
    return f"data.dataset={{name: folder, root: {tmp_path / 'pairs'}}}"


@pytest.fixture
def run_here():
    return lambda spec: experiment.run(spec, Console(quiet=True))


def losses(result):
    return [loss for _, loss in load_checkpoint(result.checkpoint).progress["losses"]]


@pytest.mark.slow
def test_a_run_with_kept_features_learns_what_one_without_does(spec, run_here, pairs):
    plain, kept = (run_here(spec(pairs, FROZEN, *more)) for more in ((), ("data.features=cache",)))
    assert losses(kept) == pytest.approx(losses(plain), rel=2e-3)  # float16
    assert kept.test.keys() == plain.test.keys()
    first, second = (load_checkpoint(result.checkpoint).weights for result in (plain, kept))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first if name.startswith("encoder."))


@pytest.mark.slow
def test_the_features_are_computed_once(spec, run_here, pairs, tmp_path):
    chosen = spec(pairs, FROZEN, "data.features=cache")
    run_here(chosen)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("features/*.npy")}
    assert len(files) == 3
    run_here(chosen)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("features/*.npy")} == files


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        ([], "trained.*model.encoder.frozen"),
        ([FROZEN, "data.dataset=scenes"], "idc-data scenes"),
    ],
)
def test_what_cannot_be_computed_once_is_refused_before_the_run_begins(spec, run_here, pairs, overrides, what):
    with pytest.raises(ValueError, match=what):
        run_here(spec(pairs, *overrides, "data.features=cache"))


def test_augmentation_is_refused_where_features_are_kept(spec):
    with pytest.raises(ValueError, match=r"crop.* 0\.1"):
        spec("data.features=cache", "data.crop=0.1")
