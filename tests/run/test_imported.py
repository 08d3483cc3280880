"""A published model that was imported is served, captions and is tested as one that idc-run has trained."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import torch
from click.testing import CliRunner
from idc_models import load
from idc_models.cli import main
from idc_models.encoders.cnn import CnnEncoder
from idc_models.registry import find
from idc_models.testing import Vocabulary
from idc_models.zoo import method_of
from safetensors.torch import save_file

from idc_run.tracking.champion import Standing
from idc_run.tracking.registry import register
from idc_run.tracking.store import connect

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow")]

PAIR = [Path(__file__).parents[2] / f"examples/pairs/{side}.png" for side in ("before", "after")]
BODY = {"inputs": [{path.stem: base64.b64encode(path.read_bytes()).decode() for path in PAIR}]}
WORDS = ["<NULL>", "<UNK>", "<START>", "<END>", *"abcdefgh"]


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """A checkpoint of MCCFormers-S under its published names, imported by the command, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    save_file(CnnEncoder(widths=(8, 8)).state_dict(), "encoder.safetensors")
    fusion = find("fusion", "mccformers-s")(8, dim=32, layers=1, grid_side=8)
    decoder = find("decoder", "post-norm")(fusion.memory_dim, Vocabulary(), layers=1)
    with torch.no_grad():
        decoder.output.bias[[*range(4), 10, 11]] -= 9  # it says words; MCCFormers begins with 10 and ends with 11 of 12
    torch.save(published(fusion, decoder), "published.pt")
    Path("vocab.json").write_text(json.dumps(WORDS))
    encoder = "{name: cnn, widths: [8, 8], weights: encoder.safetensors}"
    options = ["--vocab", "vocab.json", "--encoder", encoder, "--image-size", "32", "--max-length", "9"]
    ended = CliRunner().invoke(main, ["import", "mccformers-s", *options, "published.pt", "imported.safetensors"])
    assert ended.exit_code == 0, ended.output
    return tmp_path / "imported.safetensors"


def published(fusion, decoder):
    """The parameters under their published names, in one dictionary for each module."""
    groups = {}
    names = method_of("mccformers-s").names
    for part, module in (("fusion", fusion), ("decoder", decoder)):
        for name, value in module.state_dict().items():
            ours = f"{part}/{name}"
            fitting = [
                (match, theirs)
                for theirs, start in names.items()
                if start and (match := re.match(re.escape(start).replace(r"\*", r"(\d+)"), ours))
            ]
            match, theirs = max(fitting, key=lambda each: each[0].end())
            numbers = iter([*match.groups(), "0", "0"])
            full = re.sub(r"\*", lambda _, numbers=numbers: next(numbers), theirs) + ours[match.end() :]
            group, _, inner = full.partition("/")
            groups.setdefault(group, {})[inner] = value
    return groups


def test_it_is_registered_served_and_captions_as_its_checkpoint_does(imported, serving):
    said = load(imported).caption(*PAIR)
    assert said.caption and set(said.caption.split()) <= set(WORDS)
    ended = subprocess.run(
        [Path(sys.executable).with_name("idc-caption"), imported, *PAIR], capture_output=True, text=True, check=True
    )
    assert said.caption in ended.stdout
    mlflow = connect()
    mlflow.set_experiment("imported")
    with mlflow.start_run():
        version, _ = register(imported, "published", Standing("val/cider", "plain", "nothing", 0.0))
    with serving(f"models serve -m models:/published/{version} --env-manager local", imported.parent) as server:
        status, reply = server.post(BODY)
    assert status == 200, reply
    (answer,) = reply["predictions"]
    assert answer["caption"] == said.caption and answer["log_prob"] == pytest.approx(said.log_prob, abs=1e-3)


def test_the_page_serves_it(imported):
    said = load(imported).caption(*PAIR)
    command = [Path(sys.executable).with_name("idc-app"), imported, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().partition("  ")[0]
            assert address.startswith("http://127.0.0.1:"), server.stderr.read()
            request = Request(f"{address}invocations", json.dumps(BODY).encode(), {"Content-Type": "application/json"})
            with urlopen(request, timeout=600) as reply:
                (answer,) = json.load(reply)["predictions"]
            assert answer["caption"] == said.caption
        finally:
            server.terminate()
