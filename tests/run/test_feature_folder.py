"""`data.features: {folder: ...}`: a model on features that others have computed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from idc_data.example import SPLITS
from idc_data.images import load_image
from idc_data.layout import write_layout
from idc_data.readers import open_reader
from idc_models import load
from idc_models.registry import find

from idc_run.checkpoint import load_checkpoint
from idc_run.console import Console
from idc_run.training import experiment

FEATURES = ("data.dataset=pairs", "data.features={folder: features}", "train.epochs=1")
ENCODER = "model.encoder={name: features, channels: 6, height: 8, width: 8}"
PAIR = [str(Path(__file__).parents[2] / f"examples/pairs/{side}.png") for side in ("before", "after")]


@pytest.fixture
def computed(tiny):
    """Sixteen pairs in three splits, and a float32 array `c h w` for each image."""
    encoder = find("encoder", "cnn")(widths=(8, 6)).eval()
    for split in SPLITS:
        reader = open_reader({"name": "scenes", "val_pairs": 4, "test_pairs": 4}, split, image_size=32)
        write_layout(Path("pairs"), [reader[number] for number in range(8 if split == "train" else 4)])
    for image in sorted(Path("pairs").rglob("*.png")):
        pixels = torch.from_numpy(load_image(image)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            (grid,) = encoder(pixels)
        file = Path("features") / image.relative_to("pairs").with_suffix(".npy")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, grid.movedim(-1, 0).numpy())


def idc_run(*arguments):
    command = [Path(sys.executable).with_name("idc-run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_model_is_trained_and_tested_on_features_of_others(computed):
    settings = [word for setting in (*FEATURES, ENCODER, "data.workers=1") for word in ("-s", setting)]
    ended = idc_run("tiny.yaml", *settings)
    assert ended.returncode == 0, ended.stderr
    (best,) = Path("mlruns").rglob("best.safetensors")
    held = load_checkpoint(best)
    assert held.build().encoder.features == (6, 8, 8) and not held.build().encoder.state_dict()
    moved = Path("features").rename("elsewhere")
    tested = idc_run("--test", str(best))
    assert tested.returncode != 0 and "there is no such folder" in tested.stderr and "Traceback" not in tested.stderr
    tested = idc_run("--test", str(best), "-s", f"data.features.folder={moved}")
    assert tested.returncode == 0, tested.stderr
    with pytest.raises(ValueError, match="FeaturesEncoder takes precomputed features"):
        load(str(best)).caption(*PAIR)


@pytest.mark.slow
def test_features_and_encoders_that_do_not_fit_are_refused_before_the_run_begins(computed, spec):
    def refused(*overrides):
        with pytest.raises(ValueError) as error:
            experiment.run(spec(*FEATURES, ENCODER, *overrides), Console(quiet=True))
        assert "\n" not in str(error.value) and not Path("mlruns").exists()
        return str(error.value)

    assert "takes features of shape [6, 4, 8]" in refused("model.encoder.height=4")
    assert "takes features of shape [8, 8, 6]" in refused(
        "model.encoder={name: features, channels: 6, height: 8, width: 8, order: hwc}"
    )
    assert "encoder CnnEncoder takes images" in refused("model.encoder={name: cnn, widths: [8, 8]}")
    assert "or other data.features" in refused("data.features=null")
    assert "register is 'idc'" in refused("register={model: idc}", "tracking=mlflow")
    assert "renders new images" in refused("data.dataset=scenes")
    (gone,) = Path("features/val").glob("*000_after.npy")
    gone.unlink()
    assert "no features for 1 of 32 images" in refused()


def test_channels_may_come_first_or_last():
    stored = torch.rand(2, 5, 3, 4)
    first = find("encoder", "features")(channels=5, height=3, width=4)
    last = find("encoder", "features")(channels=5, height=3, width=4, order="hwc", coordinates=True)
    grids = first.pair(stored, stored)
    others = last.pair(stored.movedim(1, -1), stored.movedim(1, -1))
    assert first.dim == 5 and last.dim == 7
    assert all(torch.equal(one, other[..., :5]) for one, other in zip(grids, others, strict=True))
