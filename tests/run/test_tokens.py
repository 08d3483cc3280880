"""What a served model is sent beside the pair, by clients, commands and the page: the token, and nothing else."""

import importlib.util
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from idc_run.address import TOKEN
from idc_run.serving.app import model_elsewhere, page_app
from idc_run.serving.remote import RemoteCaptioner

CLIENTS = Path(__file__).parents[2] / "examples/clients"
NODE = """
import {openAsBlob} from "node:fs";
import {caption} from "./idc_client.mjs";
await caption(process.argv[2], [[await openAsBlob("a.png"), await openAsBlob("a.png")]]).catch(error => {
  console.error(error.message);
  process.exitCode = 22;
});
"""


@pytest.fixture
def served():
    """A server that wants the token abc under /locked and sends away from /moved; its address, and what it was sent."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({name.lower(): value for name, value in self.headers.items()})
            locked = self.path.startswith("/locked") and self.headers["Authorization"] != "Bearer abc"
            text = b"" if locked else b'{"predictions": [{"caption": "a", "log_prob": -1.0}]}'
            self.send_response(401 if locked else 302 if self.path.startswith("/moved") else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            asked.append({name.lower(): value for name, value in self.headers.items()})
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.fixture(autouse=True)
def proxied(monkeypatch, tmp_path):
    """A folder with an image, in an environment whose proxy is not there."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("a.png")
    shutil.copy(CLIENTS / "idc_client.mjs", tmp_path)
    (tmp_path / "ask.mjs").write_text(NODE)


def python(address):
    found = importlib.util.spec_from_file_location("idc_client", CLIENTS / "idc_client.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    try:
        module.Client(address, patience=0).caption([("a.png", Path("a.png").read_bytes())])
    except ValueError as error:
        return str(error)
    return ""


def command(*start):
    def ask(address):
        ended = subprocess.run([*start, address, "a.png", "a.png"], capture_output=True, text=True, check=False)
        assert ended.returncode == (22 if ended.stderr else 0)
        return ended.stderr

    return ask


CLIENT = [
    pytest.param(python, id="python"),
    pytest.param(command("sh", str(CLIENTS / "caption.sh")), id="shell"),
    pytest.param(
        command("node", "--no-warnings", "ask.mjs"),
        id="node",
        marks=pytest.mark.skipif(not shutil.which("node"), reason="no Node on the PATH"),
    ),
]


@pytest.mark.parametrize("ask", CLIENT)
def test_a_client_sends_the_token_and_asks_this_machine_without_a_proxy(served, monkeypatch, ask):
    address, asked = served
    said = ask(f"{address}/locked")
    assert "401" in said and "IDC_TOKEN" in said and "authorization" not in asked.pop()
    monkeypatch.setenv(TOKEN, "abc\n")
    assert ask(f"{address}/locked") == "" and asked.pop()["authorization"] == "Bearer abc"
    monkeypatch.setenv(TOKEN, "wrong-secret")
    said = ask(f"{address.replace('127.0.0.1', 'localhost')}/locked")
    assert "IDC_TOKEN" in said and "wrong-secret" not in said and asked.pop()["authorization"] == "Bearer wrong-secret"


def test_a_token_is_not_carried_to_another_address(served, monkeypatch):
    address, asked = served
    monkeypatch.setenv(TOKEN, "abc")
    python(f"{address}/moved")
    assert [each.get("authorization") for each in asked] == ["Bearer abc", None]


def test_what_is_no_token_is_told_without_it(monkeypatch):
    monkeypatch.setenv(TOKEN, "two secrets")
    said = python("http://127.0.0.1:9")
    assert "IDC_TOKEN is not a valid token" in said and "secrets" not in said


@pytest.mark.parametrize("token", ["", "abc"])
def test_the_page_passes_nothing_of_its_visitors_on_but_the_pair(served, monkeypatch, token):
    address, asked = served
    monkeypatch.setenv(TOKEN, token)
    visitors = {"Authorization": "Bearer theirs", "Cookie": "a=b", "X-Forwarded-For": "192.0.2.1", "Referer": "http://a/",
                "User-Agent": "theirs", "Content-Type": "application/json"}  # fmt: skip
    body = '{"inputs": [{"before": "", "after": ""}], "params": {}}'
    with TestClient(page_app(model_elsewhere(address), "model", "127.0.0.1"), base_url="http://localhost") as client:
        assert client.post("/invocations", content=body, headers=visitors).status_code == 200
    (sent,) = asked
    usual = "host accept accept-encoding connection user-agent content-type content-length authorization"
    assert sent.keys() <= set(usual.split())
    assert sent.get("authorization") == (f"Bearer {token}" if token else None) and "theirs" not in str(sent)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://user:secret@127.0.0.1:9", "SOCKS proxy: run `uv pip install socksio`"),
        ("gopher://user:secret@a", "is invalid"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line(monkeypatch, proxy, words):
    if words.startswith("SOCKS") and importlib.util.find_spec("socksio"):
        pytest.skip("socksio is installed")
    monkeypatch.setenv("ALL_PROXY", proxy)
    for make in (RemoteCaptioner, model_elsewhere):
        with pytest.raises(ValueError, match=words) as caught:
            make("http://models.example.org:5001")
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConnectionError, match="no answer"):  # this machine is asked without it
        monkeypatch.setattr("idc_run.serving.remote.PATIENCE", 0)
        RemoteCaptioner("http://127.0.0.1:9").caption([(np.zeros((4, 4, 3), np.uint8),) * 2])
