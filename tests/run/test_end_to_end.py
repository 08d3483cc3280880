"""What was trained, tested and registered gives one answer, whichever way people ask for it."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idc_models.serving.inference import PairCaptioner
from PIL import Image
from playwright.sync_api import expect

ROOT = Path(__file__).parents[2]
SIDES = ("before", "after")
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture(scope="module")
def tested(registered):
    """The predictions file of the run, and the folder that it lies in."""
    (path,) = (registered.folder / "mlruns" / "artifacts").rglob(f"{registered.result.run_id}/**/predictions.jsonl")
    predictions = [json.loads(line) for line in path.read_text().splitlines()]
    assert any(each["hypothesis"] for each in predictions)
    return path.parent, predictions


def test_curl_the_command_and_the_predictions_file_say_the_same(registered, served, tested, tmp_path):
    folder, predictions = tested
    rows = [[base64.b64encode((folder / each[side]).read_bytes()).decode() for side in SIDES] for each in predictions]
    # The tests' model repeats itself, which a test lets it.
    body = json.dumps({"dataframe_split": {"columns": SIDES, "data": rows}, "params": {"no_repeat": 0}})
    curl = ["curl", "-s", f"{served.address}/invocations", "-H", "Content-Type: application/json", "-d", "@-"]
    asked = subprocess.run(curl, input=body, cwd=tmp_path, capture_output=True, text=True, check=True)
    answers = json.loads(asked.stdout)["predictions"]
    lines = "".join(json.dumps({side: str(folder / each[side]) for side in SIDES}) + "\n" for each in predictions)
    command = [
        Path(sys.executable).with_name("idc-caption"),
        "models:/idc@champion",
        "--jsonl",
        "-",
        "--no-repeat",
        "0",
    ]
    said = subprocess.run(command, input=lines, cwd=registered.folder, capture_output=True, text=True, check=True)
    written = [each["hypothesis"] for each in predictions]
    assert [each["caption"] for each in answers] == written
    assert [json.loads(line)["caption"] for line in said.stdout.splitlines()] == written
    assert [each["log_prob"] for each in answers] == pytest.approx([each["log_prob"] for each in predictions], abs=1e-4)


@pytest.mark.slow
def test_two_files_by_the_curl_of_the_readme_and_by_the_page(registered, served, tested, browser, tmp_path):
    folder, predictions = tested
    pair, rng = (tmp_path / "before.png", tmp_path / "after.png"), np.random.default_rng(0)
    for side, path in zip(SIDES, pair, strict=True):
        image = Image.open(folder / predictions[0][side]).resize((400, 400))
        # As large as photos are: two of them have no place in the arguments of a command.
        Image.fromarray(np.asarray(image) ^ rng.integers(0, 32, (400, 400, 3), np.uint8)).save(path)
        assert path.stat().st_size > 200_000
    model = PairCaptioner(registered.result.checkpoint)
    (shown,) = re.findall(r"^\{ printf .*? \| curl .*?$", (ROOT / "README.md").read_text(), re.M | re.S)
    command = shown.replace("http://127.0.0.1:5001", served.address)
    asked = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    (answer,) = json.loads(asked.stdout)["predictions"]
    assert answer["caption"] == model.caption([pair], beam=3, max_length=30)[0].caption != ""
    command = [Path(sys.executable).with_name("idc-app"), served.address, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        page = browser.new_page()
        try:
            page.goto(server.stdout.readline().partition("  ")[0])
            for side, path in zip(SIDES, pair, strict=True):
                page.set_input_files(f".slot[data-side={side}] input", path)
            wanted = model.caption([pair], num_captions=4)[0].caption  # as many as the page asks for
            expect(page.locator("#caption")).to_have_text(wanted, timeout=180_000)
        finally:
            page.close()
            server.terminate()
