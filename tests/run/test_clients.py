"""The clients of examples/clients, against a real server; what a client copies has to work."""

import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from idc_data.readers import open_reader
from idc_models.serving.inference import PairCaptioner
from PIL import Image

from idc_run.console import Console
from idc_run.tracking.champion import Standing
from idc_run.tracking.mlflow_tracker import MlflowTracker
from idc_run.tracking.registry import register
from idc_run.tracking.store import connect
from idc_run.training import experiment

CLIENTS = Path(__file__).parents[2] / "examples/clients"
# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::mlflow")]


@pytest.fixture(scope="module")
def client():
    found = importlib.util.spec_from_file_location("idc_client", CLIENTS / "idc_client.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Client


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    example = open_reader("scenes", "test", image_size=48)[0]
    for side in ("before", "after"):
        Image.fromarray(getattr(example, side)).save(folder / f"{side}.png")
    return folder / "before.png", folder / "after.png"


@pytest.fixture(scope="module")
def expected(registered, pair):
    return PairCaptioner(registered.result.checkpoint).caption([pair], num_captions=3)[0]


@pytest.fixture(scope="module")
def flaky(app_address):
    """Before the server: the first requests get no answer, are cut off, or told to come again."""
    faults = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = faults.pop(0) if faults else None
            if fault == "cut":
                return
            if fault:
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            ended = subprocess.run(
                [
                    "curl",
                    "-s",
                    f"{app_address}invocations",
                    "-H",
                    "Content-Type: application/json",
                    "--data-binary",
                    "@-",
                ],
                input=body,
                capture_output=True,
                check=True,
            )
            refused = b"error_code" in ended.stdout
            self.send_response(400 if refused else 200)
            self.send_header("Content-Length", str(len(ended.stdout)))
            self.end_headers()
            self.wfile.write(ended.stdout)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}", faults
    server.shutdown()
    server.server_close()


def agrees(row, expected):
    assert row["caption"] == expected.caption
    assert row["log_prob"] == pytest.approx(expected.log_prob, abs=1e-4)
    assert row["changed"] == pytest.approx(expected.changed, abs=1e-4)
    assert [each["caption"] for each in row["alternatives"]] == [each.caption for each in expected.alternatives]


def test_python_loses_nothing_while_the_server_comes_back(client, flaky, pair, expected):
    address, faults = flaky
    faults[:] = ["cut", 503, 429, 502]
    rows = client(address).caption([pair, (pair[0].read_bytes(), str(pair[1]))], num_captions=3)
    assert len(rows) == 2 and not faults
    for row in rows:
        agrees(row, expected)
    with pytest.raises(ValueError, match="beam is 99; expected 1 to 10"):
        client(address).caption([pair], beam=99)
    faults[:] = [503] * 9
    with pytest.raises(ConnectionError, match="no answer from .* in 0.3 s: status 503"):
        client(address, patience=0.3).caption([pair])
    faults.clear()


@pytest.fixture
def contender(registered, spec, monkeypatch):
    """Another checkpoint, the version that it is registered as, and a function that lets `champion` be a version."""
    other = experiment.run(spec("seed=4", "train.epochs=1"), Console(quiet=True)).checkpoint
    monkeypatch.chdir(registered.folder)
    models = connect().MlflowClient()
    first = models.get_model_version_by_alias("idc", "champion").version
    tracker = MlflowTracker("contenders")
    tracker.begin("contender", {}, {}, {})
    version, _ = register(other, "idc", Standing("another", "protocol", "data", 0.0))
    tracker.end()
    yield other, version, lambda version: models.set_registered_model_alias("idc", "champion", version)
    models.set_registered_model_alias("idc", "champion", first)
    models.delete_model_version("idc", version)


def test_a_server_killed_under_load_and_started_again_costs_nobody_an_answer_and_serves_the_new_champion(
    client, serving, registered, contender, pair, expected
):
    command, answers, stop = "models serve -m models:/idc@champion --env-manager local", [], threading.Event()
    checkpoint, version, crown = contender
    (afterwards,) = PairCaptioner(checkpoint).caption([pair], num_captions=3)
    assert abs(afterwards.log_prob - expected.log_prob) > 0.01, "the two can be told apart"

    def ask():
        while not stop.is_set():
            answers.append(client(server.address, patience=300).caption([pair], num_captions=3)[0])

    with serving(command, registered.folder) as server:
        port = int(server.address.rpartition(":")[2])
        with ThreadPoolExecutor(4) as crowd:
            asked = [crowd.submit(ask) for _ in range(4)]
            try:
                wait_for(lambda: len(answers) > 20)
                os.killpg(server.pid, signal.SIGKILL)
                wait_for(lambda: not reachable(port))
                killed_at = len(answers)
                crown(version)
                with serving(command, registered.folder, port):
                    wait_for(lambda: len(answers) > killed_at + 30)
                    stop.set()
                    for each in asked:
                        each.result()  # raises what a client has met
            finally:
                stop.set()
    for row in answers[:killed_at]:
        agrees(row, expected)
    for row in answers[killed_at + 4 :]:  # each client may have had one answer in its hands
        agrees(row, afterwards)


def reachable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition):
    deadline = time.monotonic() + 900
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_shell_does_with_curl(flaky, pair, expected):
    address, faults = flaky
    faults[:] = ["cut", 503]
    command = ["sh", CLIENTS / "caption.sh", f"{address}/", *pair]
    ended = subprocess.run([*command, '{"num_captions": 3}'], capture_output=True, text=True, check=True)
    agrees(json.loads(ended.stdout)["predictions"][0], expected)
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(ended.stdout)["predictions"]) == 1
    assert not faults
    for fault, said in (([], "beam is 99"), ([500, 503], "")):  # what is refused is not asked again
        faults[:] = fault
        ended = subprocess.run([*command, '{"beam": 99}'], capture_output=True, text=True, check=False)
        assert ended.returncode == 22 and said in ended.stdout and faults == fault[1:]
    faults.clear()


@pytest.mark.skipif(not shutil.which("node"), reason="no Node on the PATH; the browser runs the same file")
def test_node_runs_what_the_readme_shows(flaky, pair, expected, tmp_path):
    address, faults = flaky
    faults[:] = ["cut", 503]
    shown = re.search(r"```js\n(.*?)```", (CLIENTS / "README.md").read_text(), re.S)[1]
    script = shown.replace("http://127.0.0.1:5001", address).replace(
        "console.log(said.caption, said.changed, said.alternatives)", "console.log(JSON.stringify(said))"
    )
    (pair[0].parent / "shown.mjs").write_text(script)
    shutil.copy(CLIENTS / "idc_client.mjs", pair[0].parent)
    ended = subprocess.run(["node", "shown.mjs"], cwd=pair[0].parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    agrees(json.loads(ended.stdout), expected)


def test_a_browser_runs_the_same_file(browser, app_address, pair, expected):
    page = browser.new_page()
    source = (CLIENTS / "idc_client.mjs").read_text().replace("export async", "async")
    page.goto(f"{app_address}health")
    page.evaluate(f"() => {{ {source}\nwindow.caption = caption; }}")
    page.evaluate("document.body.innerHTML = '<input type=file multiple>'")
    page.set_input_files("input", pair)
    ask = "async () => (await caption('', [[...document.querySelector('input').files]], {num_captions: 3}))[0]"
    agrees(page.evaluate(ask), expected)
    page.close()
