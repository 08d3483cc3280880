"""What a registered model carries along, and that it needs nothing else of this project where it is served."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_models.serving.inference import PairCaptioner
from idc_models.spec import ModelSpec
from PIL import Image

from idc_run.tracking.packing import imported, pack, requirements
from idc_run.tracking.registry import checkpoint_of
from idc_run.tracking.store import connect

ROOT = Path(__file__).parents[2]

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

ALONE = """
import json
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"idc_run", "idc_eval", "numba", "faiss", "datasets", "tokenizers"}:
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Gone())
import mlflow
import pandas

model = mlflow.pyfunc.load_model(sys.argv[1])
import idc_models
answers = model.predict(pandas.DataFrame(json.load(sys.stdin)))
import idc_data
code = [idc_data.__file__, idc_models.__file__]
print(json.dumps({"code": code, "captions": [answer["caption"] for answer in answers]}))
"""


def spec(**parts):
    return ModelSpec.model_validate({"encoder": "cnn", "fusion": "concat", "decoder": "gru", **parts})


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def run(code, *path):
    """Run code with folders on the path."""
    program = f"import sys\nsys.path[:0] = {[str(folder) for folder in path]}\n{code}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.fixture
def model(registered, monkeypatch):
    """The folder of the registered model."""
    monkeypatch.chdir(registered.folder)
    connect()
    return checkpoint_of("models:/idc@champion").parents[1]


def test_the_code_of_an_editable_installation_is_packed_with_its_entry_points(tmp_path):
    assert pack(spec(), tmp_path) == ["idc-data", "idc-models"]
    packed = files(tmp_path)
    assert {"idc_data/images.py", "idc_models/serving/inference.py", "idc_models/decoders/recurrent.py"} < packed
    assert {path for path in packed if "dist-info" in path} == {
        f"{package}-{version(package.replace('_', '-'))}.dist-info/{name}"
        for package in ("idc_data", "idc_models")
        for name in ("METADATA", "WHEEL", "entry_points.txt")
    }
    assert not [path for path in packed if path.endswith((".pyc", ".pth", ".safetensors"))]
    assert not [path for path in packed if str(ROOT) in (tmp_path / path).read_text()], "no path of this machine"


@pytest.mark.slow
def test_a_plugin_of_another_distribution_comes_along(tmp_path, monkeypatch):
    installed, packed = tmp_path / "installed", tmp_path / "packed"
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    example = str(ROOT / "examples" / "idc-decoder-bow")
    subprocess.run([*install, "-q", "--no-deps", "--target", str(installed), example], check=True)
    monkeypatch.syspath_prepend(str(installed))
    assert pack(spec(decoder="bag-of-memory"), packed) == ["idc-data", "idc-decoder-bow", "idc-models"]
    shutil.rmtree(installed)
    found = run("from idc_models.registry import find\nprint(find('decoder', 'bag-of-memory'))", packed)
    assert found == "<class 'idc_decoder_bow.BagOfMemoryDecoder'>"


def test_a_class_of_no_distribution_comes_along(tmp_path, monkeypatch):
    written, packed = tmp_path / "written", tmp_path / "packed"
    written.mkdir()
    code = "from idc_models.decoders.recurrent import GruDecoder\n\n\nclass Mine(GruDecoder):\n    pass\n"
    (written / "my_decoders.py").write_text(code)
    monkeypatch.syspath_prepend(str(written))
    assert pack(spec(decoder="my_decoders:Mine"), packed) == ["idc-data", "idc-models"]
    assert (packed / "my_decoders.py").read_text() == code


def test_what_a_class_of_no_distribution_imports_is_asked_for(tmp_path, monkeypatch):
    code = "import json\nfrom transformers import GPT2Config\nfrom idc_models.decoders.recurrent import GruDecoder\n"
    (tmp_path / "my_lm.py").write_text(f"{code}\n\nclass Lm(GruDecoder):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert imported(spec(decoder="my_lm:Lm")) == {"transformers"} and imported(spec()) == set()
    assert (
        f"transformers=={version('transformers')}" in requirements(["idc-data"], *imported(spec(decoder="my_lm:Lm")))[0]
    )


def test_every_version_is_pinned_and_nothing_of_this_project_is_asked_for():
    direct, every = requirements(["idc-data", "idc-models"], "mlflow", "pandas")
    assert {line.partition("==")[0] for line in direct} > {
        "mlflow",
        "opencv-python-headless",
        "pandas",
        "torch",
        "timm",
    }
    assert set(direct) < set(every) and {line.partition("==")[0] for line in every} > {"fastapi", "uvicorn"}
    assert all(re.fullmatch(r"[a-z0-9._-]+==[^+]+", line) for line in every)
    assert not [line for line in every if line.startswith(("idc-", "pytest", "numba", "faiss", "datasets", "llvmlite"))]


@pytest.mark.slow
def test_a_registered_model_needs_nothing_else_of_this_project(registered, model):
    reader = open_reader("scenes", "test", image_size=48)
    pairs = [(reader[index].before, reader[index].after) for index in range(3)]
    columns = {side: [coded(pair[number]) for pair in pairs] for number, side in enumerate(("before", "after"))}
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, str(model)], input=json.dumps(columns), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    own = [str(model / "code" / name / "__init__.py") for name in ("idc_data", "idc_models")]
    assert told["code"] == own, "the model's own code"
    expected = PairCaptioner(registered.result.checkpoint).caption(pairs)
    assert told["captions"] == [each.caption for each in expected]


def coded(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_the_registered_folder_has_no_pickle_and_says_what_it_needs(model):
    assert not [path for path in files(model) if path.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))]
    asked = (model / "requirements.txt").read_text().splitlines()
    assert f"mlflow=={version('mlflow')}" in asked and asked[-1] == "-c constraints.txt"
    assert not [line for line in asked if line.startswith("idc")]
    # As MLflow sends an example: what the signature says of it holds.
    example = json.loads((model / "serving_input_example.json").read_text())
    assert example["dataframe_split"]["columns"] == ["before", "after"] and example["params"] == {
        "beam": 3,
        "num_captions": 3,
    }


@pytest.mark.slow
def test_docker_has_all_that_it_copies(model, tmp_path):
    from mlflow.models.cli import commands

    ended = CliRunner().invoke(commands, ["generate-dockerfile", "-m", str(model), "-d", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    dockerfile = (tmp_path / "Dockerfile").read_text()
    assert dockerfile.splitlines()[1].startswith("FROM python:3.") and "-slim" in dockerfile.splitlines()[1]
    (copied,) = re.findall(r"^COPY (\S+) /opt/ml/model$", dockerfile, re.M)
    assert files(tmp_path / copied) >= {
        "MLmodel",
        "requirements.txt",
        "constraints.txt",
        "served_model.py",
        "artifacts/best.safetensors",
        "code/idc_data/images.py",
        "code/idc_models/serving/inference.py",
    }
    # Pip runs there from another folder: no line may name a file but those beside the requirements.
    assert not re.search(r"^(?!-c constraints).*[/@]", (tmp_path / copied / "requirements.txt").read_text(), re.M)
