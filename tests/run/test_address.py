"""Addresses of served models, as users give them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from idc_run.address import TOKEN, mask, read_address
from idc_run.serving.remote import RemoteCaptioner


@pytest.mark.parametrize("end", ["", "/", "/invocations", "/invocations/"])
def test_the_server_and_its_invocations_are_the_same(end):
    found = read_address(f"http://user:secret@host:5001/models/idc{end}")
    assert found.requests == "http://user:secret@host:5001/models/idc/invocations"
    assert found.shown == "http://host:5001/models/idc"


@pytest.mark.parametrize(
    "given",
    [
        "http://",
        "http://[1",
        "http://:5001",
        "http://a b",
        "http://host:99999",
        "http://host:x",
        "http://host/?beam=3",
        "ftp://host",
    ],
)
def test_what_is_no_address_is_told(given):
    with pytest.raises(ValueError, match="expected one such as http://127.0.0.1:5001"):
        read_address(given)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@host:5001/x", "http://***@host:5001/x"),
        ("postgresql+psycopg://user:s@cr/et@host/db, it says", "postgresql+psycopg://***@host/db, it says"),
        ("x://host/db?user=a&password=secret&x=1", "x://host/db?user=a&password=***&x=1"),
        ("https://token@git.example.org/x.git", "https://***@git.example.org/x.git"),
        ("models:/idc@champion", "models:/idc@champion"),
        ("http://127.0.0.1:5001/models/idc@champion", "http://127.0.0.1:5001/models/idc@champion"),
        ("http://host:5000/, mail a@b", "http://host:5000/, mail a@b"),
    ],
)
def test_logins_are_masked_wherever_an_address_stands(text, shown):
    assert mask(text) == shown


def test_a_mistaken_address_does_not_show_its_password():
    with pytest.raises(ValueError) as caught:
        read_address("http://user:pa/ss@host")
    assert str(caught.value).startswith("'http://***@host' is not a valid server address (its port is not a number")


def test_no_proxy_leads_to_this_machine_and_the_token_is_sent(monkeypatch):
    monkeypatch.setenv(TOKEN, " abc.def \n")
    here, there = (read_address(f"http://{host}:5001").client() for host in ("127.0.0.1", "models.example.org"))
    assert here["trust_env"] is False and "trust_env" not in there
    assert here["headers"] == there["headers"] == {"Authorization": "Bearer abc.def"}
    monkeypatch.setenv(TOKEN, "two\nlines")
    with pytest.raises(ValueError, match="IDC_TOKEN is not a valid token"):
        read_address("http://host").client()


def test_the_served_model_gets_the_token_past_a_proxy_and_a_refusal_is_one_line(monkeypatch):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Authorization"])
            status, text = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    answers = [
        (200, b'{"predictions": [{"caption": "a", "log_prob": -1.0}]}'),
        (401, b""),
        (200, b"<html>"),
        (200, b'{"predictions": []}'),
    ]
    monkeypatch.setenv(TOKEN, "abc")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    pair = (np.zeros((8, 8, 3), np.uint8),) * 2
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        captioner = RemoteCaptioner(f"http://127.0.0.1:{served.server_address[1]}")
        assert captioner.caption([pair])[0].caption == "a"
        for words in (r"denies access \(401\): set the variable IDC_TOKEN", "is not captions", "0 answers"):
            with pytest.raises(ValueError, match=words):
                captioner.caption([pair])
        served.shutdown()
    assert asked == ["Bearer abc"] * 4
