"""The registered model behind `mlflow models serve`, as a user starts it."""

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import torch
from idc_data.readers import open_reader
from idc_models.inference import PairCaptioner
from PIL import Image

from idc_run.checkpoint import load_checkpoint
from idc_run.predict import predict

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture(scope="module")
def pairs():
    reader = open_reader("scenes", "test", image_size=48)
    return [(reader[index].before, reader[index].after) for index in range(3)]


@pytest.fixture(scope="module")
def expected(registered, pairs):
    """Gives what the model says of the pairs, by decoding settings."""
    captioner = PairCaptioner(registered.result.checkpoint)
    return lambda **decoding: captioner.caption(pairs, **decoding)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_captions_are_those_of_the_predictions(registered, beam):
    path = registered.result.checkpoint
    checkpoint = load_checkpoint(path)
    spec, reader = checkpoint.spec, open_reader({"name": "scenes", "test_pairs": 12}, "test", image_size=48)
    decoding = spec.eval.model_copy(update={"beam": beam})
    predictions = predict(checkpoint.build(), reader, checkpoint.tokenizer, spec.data, decoding, torch.device("cpu"))
    captions = PairCaptioner(path).caption([(each.before, each.after) for each in reader], beam=beam)
    assert [each.caption for each in captions] == [each.hypothesis for each in predictions]
    assert [each.log_prob for each in captions] == pytest.approx([each.log_prob for each in predictions], abs=1e-5)


@pytest.fixture(scope="module")
def post(registered):
    """A served model: gives a function from a request to the status and the reply."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = registered.folder.parent / "serve.log"
    command = f"-m mlflow models serve -m models:/idc@champion --env-manager local -p {port}"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=registered.folder,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not healthy(address):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield lambda body: answer(f"{address}/invocations", body)
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def healthy(address):
    try:
        with urlopen(f"{address}/health", timeout=5) as reply:
            return reply.status == 200
    except URLError:
        return False


def answer(address, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urlopen(Request(address, data, {"Content-Type": "application/json"}), timeout=60) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def coded(image, kind="PNG"):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def split(rows, columns=("before", "after"), **params):
    return {"dataframe_split": {"columns": columns, "data": rows}, "params": params}


def agrees(predictions, captions):
    assert [each["caption"] for each in predictions] == [each.caption for each in captions]
    assert [each["log_prob"] for each in predictions] == pytest.approx([each.log_prob for each in captions], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("decoding", [{}, {"beam": 3}, {"beam": 2, "max_length": 5}])
def test_the_server_says_what_the_model_says(post, pairs, expected, decoding):
    rows = [[coded(before), coded(after)] for before, after in pairs]
    status, reply = post(split(rows, **decoding))
    assert status == 200
    agrees(reply["predictions"], expected(**decoding))


@pytest.mark.slow
def test_every_form_of_request_gets_the_same_answer(post, pairs, expected):
    records = [{"before": coded(before), "after": f"data:image/png;base64,{coded(after)}"} for before, after in pairs]
    columns = {side: [record[side] for record in records] for side in ("before", "after")}
    for body in ({"dataframe_records": records}, {"inputs": records}, {"inputs": columns}):
        status, reply = post(body)
        assert status == 200
        agrees(reply["predictions"], expected())


@pytest.mark.slow
def test_a_faulty_request_gets_one_sentence_and_the_server_lives_on(post, pairs, expected):
    good = coded(pairs[0][0])
    text = base64.b64encode(b"Nothing has changed.\n" * 9).decode()
    half = base64.b64encode(base64.b64decode(good)[:-300]).decode()
    huge = coded(Image.new("L", (5000, 5000)))
    assert len(huge) < 100_000
    faults = {
        "truncated base64": (split([[good, good[:-3]]]), "row 0, 'after': not base64"),
        "half an image": (split([[half, good]]), "row 0, 'before': not a whole PNG, JPEG or WebP image"),
        "a text file": (split([[good, good], [good, text]]), "row 1, 'after': not a whole PNG, JPEG or WebP image"),
        "no image at all": (split([["", good]]), "row 0, 'before': not a whole PNG, JPEG or WebP image (0 bytes)"),
        "a GIF": (split([[good, coded(pairs[0][0], "GIF")]]), "not a whole PNG, JPEG or WebP image"),
        "too many pixels": (split([[huge, good]]), "row 0, 'before': 5000 x 5000 pixels; expected at most 16777216"),
        "null": (split([[good, None]]), "row 0, 'after': expected the image's bytes as base64 text"),
        "a number": (split([[good, 5]]), "after"),
        "a column too few": (split([[good]], ["before"]), "after"),
        "wrong columns": (split([[good, good]], ["before", "later"]), "after"),
        "beam out of range": (split([[good, good]], beam=99), "beam is 99"),
        "no length": (split([[good, good]], max_length=0), "max_length is 0"),
        "a beam of the wrong type": (split([[good, good]], beam="many"), "beam"),
        "too many pairs": (split([[good, good]] * 65), "the request has 65 pairs; expected 1 to 64"),
        "no pairs": (split([]), "expected 1 to 64"),
        "no known form": ({"pairs": [[good, good]]}, "dataframe_split"),
    }
    for name, (body, message) in faults.items():
        status, reply = post(body)
        assert 400 <= status < 500, f"{name}: {status} {reply}"
        # MLflow puts a table of the shortened input before what is wrong with it.
        said = json.loads(reply)["message"].rpartition("Error: ")[2]
        assert message in said and "\n" not in said, f"{name}: {reply}"
        # Addresses of MLflow's pages are no paths of the server's.
        assert not re.search(r"Traceback|stack_trace|\.py\b|/[a-z]+/", re.sub(r"https://\S+", "", reply)), reply
    status, reply = post(b"before and after")
    assert status == 400 and "Ensure that input is a valid JSON" in reply and "stack_trace" not in reply
    status, reply = post(split([[coded(before), coded(after)] for before, after in pairs]))
    assert status == 200
    agrees(reply["predictions"], expected())
