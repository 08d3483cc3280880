"""A trained model in three lines: by name, by file, from any kind of image."""

import io
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from idc_models import load
from idc_models.loading import SHIPPED, ForeignImages, find_checkpoint, shipped_models
from PIL import Image

# A square on a wall is no scene, of which one test makes sure.
pytestmark = pytest.mark.filterwarnings("ignore::idc_models.loading.ForeignImages")


@pytest.fixture(scope="module")
def model():
    return load("scenes")


@pytest.fixture
def pair(tmp_path):
    """Before and after as files of one colour with a square in it; the second one without."""
    rng = np.random.default_rng(0)
    before = np.full((64, 64, 3), 170, np.uint8)
    before[20:30, 20:30] = rng.integers(0, 255, 3)
    after = np.full((64, 64, 3), 170, np.uint8)
    for name, image in (("a.png", before), ("b.png", after)):
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path / "a.png", tmp_path / "b.png"


def test_three_lines_are_enough(pair, monkeypatch, capsys):
    monkeypatch.chdir(pair[0].parent)
    model = load("scenes")
    print(model.caption("a.png", "b.png"))
    answer = model.caption("a.png", "b.png", num_captions=3, change_map=True)
    assert capsys.readouterr().out == f"{answer.caption}\n" and len(answer.caption.split()) > 2
    assert answer.log_prob < 0 <= answer.changed <= 1
    assert len(answer.alternatives) == 2 and answer.change_map.shape == (64, 64)


@pytest.mark.filterwarnings("default")
def test_python_warns_of_foreign_images_where_they_are_captioned(model, pair):
    with pytest.warns(ForeignImages, match="unlike those that the model was trained on"):
        said = model.caption(*pair)
    assert said.familiar < 0.5
    own = Path(__file__).parents[2] / "examples" / "pairs"
    many = [[pair[0], own / "before.png"], [pair[1], own / "after.png"]]
    with pytest.warns(ForeignImages, match="^1 of 2 pairs: "):
        assert model.caption(*many)[1].familiar >= 0.5


def kinds(path):
    """An image in every form that is taken."""
    with Image.open(path) as opened:
        image = opened.copy()
    pixels = np.asarray(image)
    yield from (str(path), path, path.read_bytes(), image, image.convert("RGBA"), pixels)
    yield from (np.dstack([pixels, np.full((64, 64), 255, np.uint8)]), pixels / 255, (pixels / 255).astype(np.float32))
    yield from (torch.from_numpy(pixels.copy()).permute(2, 0, 1), torch.from_numpy(pixels / 255).permute(2, 0, 1))


def test_every_form_of_an_image_says_the_same(model, pair):
    wanted = model.caption(*pair)
    for before, after in zip(kinds(pair[0]), kinds(pair[1]), strict=True):
        found = model.caption(before, after)
        assert (found.caption, found.log_prob) == (wanted.caption, pytest.approx(wanted.log_prob, abs=1e-6))


def test_grey_is_grey(model, pair):
    with Image.open(pair[0]) as image:
        grey = image.convert("L")
    wanted = model.caption(grey, grey.convert("RGB"))
    pixels = np.asarray(grey)
    for form in (pixels, pixels[..., None], pixels / 255, torch.from_numpy(pixels.copy())[None]):
        assert model.caption(form, form).log_prob == pytest.approx(wanted.log_prob, abs=1e-6)


def test_an_image_of_pillow_is_upright_and_stays_as_it_is(model, pair):
    with Image.open(pair[0]) as image:
        turned, file = image.transpose(Image.Transpose.ROTATE_90), io.BytesIO()
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(file, "PNG", exif=exif)
    opened = Image.open(file)
    assert model.caption(opened, pair[1]).log_prob == pytest.approx(model.caption(*pair).log_prob, abs=1e-6)
    assert opened.getexif()[0x0112] == 6 and opened.size == (64, 64)
    opened.close()


def test_many_pairs_come_back_in_their_order(model, pair):
    before, after = pair
    wanted = [model.caption(before, after).log_prob, model.caption(after, before).log_prob]
    batch = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in pair])
    for sides in (([before, after], [after, before]), (batch, batch[::-1])):
        assert [each.log_prob for each in model.caption(*sides)] == pytest.approx(wanted, abs=1e-5)
    assert model.caption([], []) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.uint16), "uint16; expected uint8, or floats from 0 to 1"),
        (np.full((4, 4, 3), 1.5), "floats from 1.5 to 1.5; expected 0 to 1"),
        (np.full((4, 4, 3), np.nan), "from nan to nan"),
        (np.zeros((3, 8, 8), np.uint8), "an array of uint8 3x8x8 is not an image"),
        (np.zeros((0, 4, 3), np.uint8), "0x4x3 is not an image"),
        (7, "not an image; expected a path"),
        (b"nonsense", "the image is damaged or not an image"),
        (Path("gone.png"), "gone.png"),
    ],
)
def test_what_is_no_image_is_told(model, pair, image, message):
    with pytest.raises((ValueError, OSError), match=message):
        model.caption(image, pair[1])
    if isinstance(image, np.ndarray):
        with pytest.raises(ValueError, match=f"image 1: .*{message}"):
            model.caption([pair[0], image], [pair[1], pair[1]])


@pytest.mark.parametrize(("many", "message"), [(["a"], "is 1 and after is one image"), (["a", "b"], "is 2 and")])
def test_before_and_after_are_as_many(model, many, message):
    with pytest.raises(ValueError, match=message):
        model.caption(many, "a.png")


def test_a_shipped_name_means_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_models() == ["scenes"]
    Path("scenes").mkdir()
    assert find_checkpoint("scenes") == SHIPPED / "scenes.safetensors"
    with pytest.raises(ValueError, match=r"'\./scenes' is a folder without best\.safetensors"):
        find_checkpoint("./scenes")
    Path("scenes/best.safetensors").touch()
    assert find_checkpoint("./scenes") == find_checkpoint(Path("scenes")) == Path("scenes/best.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scene", "no checkpoint at 'scene'; .* did you mean 'scenes'. Known: scenes"),
        ("gone/best.safetensors", "no checkpoint at 'gone/best.safetensors'; expected a .safetensors file"),
        ("http://127.0.0.1:5001", "is the address of a server"),
    ],
)
def test_a_name_that_nothing_has_is_told(name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_registered_models_are_found_by_whoever_knows_the_registry(monkeypatch):
    def registries(*found):
        monkeypatch.setattr("idc_models.loading.entry_points", lambda group: found if group == "idc.registries" else ())

    registries(EntryPoint("here", f"{__name__}:registry", "idc.registries"))
    assert find_checkpoint("models:/idc@champion") == Path("found/models:/idc@champion")
    with pytest.raises(ValueError, match="no such model"):
        find_checkpoint("models:/gone/1")
    registries()
    with pytest.raises(ValueError, match="idc-run.*not installed"):
        find_checkpoint("models:/idc@champion")


def registry(address):
    if "gone" in address:
        raise ValueError("no such model")
    return Path("found", address)


def test_importing_the_package_loads_no_torch():
    program = "import sys, idc_models\nidc_models.load\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_images_of_16_bits_that_are_open_are_scaled_alike_as_files_are(model, tmp_path):
    before = np.full((64, 64), 1000, np.uint16)
    after = before.copy()
    after[:8, :8] = 5000  # alone, each would be stretched to a range of its own
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, values in zip(files, (before, after), strict=True):
        Image.fromarray(values).save(file)
    said = model.caption(Image.fromarray(before), Image.fromarray(after))
    assert said == model.caption(*files)
