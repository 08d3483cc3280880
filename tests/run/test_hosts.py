"""By which names the page may be asked: its own, and those of a proxy before it."""

import pytest
from click.testing import CliRunner
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from idc_run.serving.app import page_app, read_host
from idc_run.serving.caption_cli import app


async def answer(request):
    return JSONResponse({"predictions": []})


def status(host, asked, *names):
    page = page_app(answer, "model", host, names=[read_host(name) for name in names])
    with TestClient(page, base_url="http://localhost") as client:
        both = [client.get("/", headers={"Host": asked}), client.post("/invocations", headers={"Host": asked}, json={})]
    (found,) = {reply.status_code for reply in both}
    return found


@pytest.mark.parametrize(
    ("host", "asked", "names", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:8765", (), 200),
        ("::1", "[::1]:8765", (), 200),
        ("127.0.0.1", "captions.example.org", (), 400),
        ("127.0.0.1", "captions.example.org", ("captions.example.org",), 200),
        ("127.0.0.1", "Captions.Example.Org:8443", ("captions.example.org",), 200),
        ("127.0.0.1", "localhost", ("captions.example.org",), 200),
        ("127.0.0.1", "evil.example", ("captions.example.org", "other.example.org"), 400),
        ("127.0.0.1", "other.example.org", ("captions.example.org", "other.example.org"), 200),
        ("127.0.0.1", "a.example.org", ("*.example.org",), 200),
        ("127.0.0.1", "evil-example.org", ("*.example.org",), 400),
        ("127.0.0.1", "xn--bcher-kva.example", ("Bücher.example",), 200),
        ("127.0.0.1", "anything.example", ("*",), 200),
        ("127.0.0.1", "[fd00::7]:80", ("fd00::7",), 200),
        ("127.0.0.2", "127.0.0.2", (), 200),
        ("127.0.0.2", "anything.example", (), 400),
        ("0.0.0.0", "anything.example", (), 200),
        ("0.0.0.0", "anything.example", ("captions.example.org",), 400),
        ("192.0.2.1", "192.0.2.1:8765", ("captions.example.org",), 200),
    ],
)
def test_the_page_answers_to_its_names_and_to_no_others(host, asked, names, expected):
    assert status(host, asked, *names) == expected


def test_a_page_behind_a_proxy_that_ends_tls_answers_the_browser_s_own_origin():
    headers = {"Host": "captions.example.org", "Origin": "https://captions.example.org", "X-Forwarded-Proto": "https"}
    with TestClient(page_app(answer, "model", "127.0.0.1", names=["captions.example.org"])) as client:
        assert client.post("/invocations", headers=headers, json={}).status_code == 200


def run(monkeypatch, *arguments):
    served = []
    monkeypatch.setattr("idc_run.serving.app.serve", lambda page, listening: served.append(page))
    return CliRunner().invoke(app, ["http://127.0.0.1:9", "--port", "0", *arguments]), served


@pytest.mark.parametrize(
    "name", ["", "http://a.example", "a.example:80", "a b", "*a.example", "a.*.example", "a/b", "-a"]
)
def test_what_is_no_name_is_one_line(monkeypatch, name):
    ended, served = run(monkeypatch, "--allow-host", "fine.example", "--allow-host", name)
    (line,) = ended.stderr.splitlines()
    assert (ended.exit_code, ended.stdout, served) == (2, "", [])
    assert line.startswith(f"error: {name!r} is not a valid host name; expected one such as captions.example.org")


@pytest.mark.parametrize(("names", "warnings"), [(["*.example.org", "b.example"], 0), (["*"], 1)])
def test_any_name_is_allowed_with_a_warning(monkeypatch, names, warnings):
    ended, (page,) = run(monkeypatch, *(part for name in names for part in ("--allow-host", name)))
    assert ended.exit_code == 0 and len(ended.stderr.splitlines()) == warnings
    with TestClient(page, base_url=f"http://{names[0].replace('*', 'a')}") as client:
        assert client.get("/health").status_code == 200
