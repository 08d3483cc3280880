"""A trained checkpoint tells what it was trained on."""

import io
import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_models.serving.inference import PairCaptioner
from idc_models.serving.settings import Decoding
from PIL import Image

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from idc_run.cli import run
from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.training import experiment
from idc_run.training.data import open_data
from idc_run.training.describe import described
from idc_run.training.ready import build

SCENES = "data.dataset={name: scenes, train_pairs: 16, val_pairs: 40, test_pairs: 4}"


@pytest.fixture
def undescribed(spec):
    """A checkpoint as older versions wrote it, of fresh weights: nothing here hangs on what they say."""
    given = spec(SCENES)
    data = open_data(given)
    torch.manual_seed(0)
    model = build(given, data.tokenizer, torch.device("cpu"))
    return Checkpoint(given, data.tokenizer, model.state_dict(), {"epoch": 3}, {}, ("nothing changed",))


@pytest.fixture
def path(undescribed, tmp_path):
    save_checkpoint(tmp_path / "old.safetensors", undescribed)
    return tmp_path / "old.safetensors"


def test_an_older_checkpoint_is_described_in_place(path, undescribed):
    assert load_checkpoint(path).description is None
    ran = CliRunner().invoke(run, ["--describe", str(path)])
    assert ran.exit_code == 0, ran.output
    assert "trained on 48 pairs of procedural scenes, seen at 32 x 32 pixels; 6 examples stored" in ran.output
    held = load_checkpoint(path)
    assert held.spec.completed() == undescribed.spec.completed() and held.unchanged == undescribed.unchanged
    assert all(torch.equal(held.weights[name], value) for name, value in undescribed.weights.items())
    description = held.description
    assert description and (description.dataset, description.shows) == ("scenes", "procedural scenes")
    assert description.no_repeat == 3


def test_every_answer_then_tells_how_familiar_the_images_are(path):
    noise = torch.randint(0, 256, (48, 48, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    example = open_reader({"name": "scenes"}, "test", image_size=32)[0]
    pairs = [(example.before, example.after), (noise, noise), (example.before, noise)]
    assert [said.familiar for said in PairCaptioner(path).caption(pairs)] == [None, None, None]
    assert CliRunner().invoke(run, ["--describe", str(path)]).exit_code == 0
    own, foreign, half = PairCaptioner(path).caption(pairs)
    assert own.familiar is not None and own.familiar > 0.5 and own.note is None
    assert foreign.familiar is not None and foreign.familiar < 0.5
    assert "these images are unlike those that the model was trained on (procedural scenes)" in (foreign.note or "")
    assert half.familiar is not None and half.familiar < 0.5
    assert (half.note or "").startswith("the image after is unlike those")
    captioner = PairCaptioner(path)
    noted = replace(captioner.prepare(noise, noise), note="could not be aligned")
    assert (captioner.write([noted], Decoding())[0].note or "").startswith("could not be aligned; these images are")


@pytest.mark.slow
def test_a_run_describes_its_best_checkpoint_and_its_predictions(spec, tmp_path):
    result = experiment.run(spec(SCENES, "eval.examples=4", "train.epochs=1"), Console(quiet=True))
    assert result
    description = load_checkpoint(result.checkpoint).description
    assert description and description.pairs == 16 and len(description.examples) == 4


def test_the_examples_are_small_pictures_of_validation_pairs_and_one_shows_no_change(undescribed):
    data = open_data(undescribed.spec, undescribed.tokenizer)
    found = described(undescribed, undescribed.build(), data).description
    assert found and len(found.examples) == 6
    for pair in found.examples:
        for content in pair:
            with Image.open(io.BytesIO(content)) as image:
                assert (image.format, image.size) == ("WEBP", (256, 256))
    assert sum(len(content) for pair in found.examples for content in pair) < 100_000
    none = described(replace(undescribed, spec=load_examples(undescribed.spec, 0)), undescribed.build(), data)
    assert none.description and none.description.examples == ()


def load_examples(spec, num):
    return spec.model_copy(update={"eval": spec.eval.model_copy(update={"examples": num})})


@pytest.fixture
def folder(tmp_path):
    """A dataset of two kinds of change in the project's own layout, with pictures of two sizes."""
    for split, num in (("train", 6), ("val", 5), ("test", 2)):
        (tmp_path / "my-pairs" / split).mkdir(parents=True)
        lines = []
        for row in range(num):
            for side, width in (("before", 300), ("after", 64)):
                picture = Image.effect_noise((width, 50), 20 + row).convert("RGB")
                picture.save(tmp_path / "my-pairs" / split / f"{row}-{side}.png")
            said = ["a car left and a car left and a car left", "a car left"]
            files = {f"{side}_file_name": f"{row}-{side}.png" for side in ("before", "after")}
            kind = {"changed": row != 3, "change_type": "none" if row == 3 else "drop"}
            lines.append(json.dumps({"id": str(row), **files, "references": said, **kind}))
        (tmp_path / "my-pairs" / split / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path / "my-pairs"


def test_a_folder_is_called_by_its_name_and_moves(folder, tiny, path, tmp_path):
    given = load_spec(tiny, [f"data.dataset={folder}"])
    data = open_data(given)
    torch.manual_seed(0)
    model = build(given, data.tokenizer, torch.device("cpu"))
    save_checkpoint(path, Checkpoint(given, data.tokenizer, model.state_dict(), {"epoch": 2}, {}))
    moved = folder.rename(tmp_path / "elsewhere")
    ran = CliRunner().invoke(run, ["--describe", str(path)])
    assert ran.exit_code != 0 and ran.output.count("\n") == 1
    ran = CliRunner().invoke(run, ["--describe", str(path), "-s", f"data.dataset={moved}"])
    assert ran.exit_code == 0, ran.output
    held = load_checkpoint(path)
    found = held.description
    assert found and (found.dataset, found.shows, found.pairs) == ("elsewhere", "the dataset elsewhere", 6)
    assert held.spec.data.dataset == {"name": str(moved), "root": str(moved)}
    # "a car left and a car left and a car left": seven words come twice, eight do not.
    assert found.no_repeat == 8
    sizes = []
    for content in (content for pair in found.examples for content in pair):
        with Image.open(io.BytesIO(content)) as image:
            sizes.append(image.size)
    assert sizes == [(256, 43), (64, 50)] * 5


@pytest.mark.parametrize("more", [["--check"], ["--resume"], ["spec.yaml"], ["--from-run", "1"]])
def test_describing_goes_alone(more, tiny):
    ran = CliRunner().invoke(run, ["--describe", "best.safetensors", *more])
    assert ran.exit_code != 0 and "--describe" in ran.output


def test_describing_changes_nothing_else_of_the_spec(path):
    ran = CliRunner().invoke(run, ["--describe", str(path), "-s", "train.epochs=99"])
    assert ran.exit_code != 0 and "'train.epochs=99' does not apply" in ran.output
