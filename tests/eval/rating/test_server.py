import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
from idc_eval.rating.server import rating_app
from idc_eval.rating.store import Ratings
from starlette.testclient import TestClient


def ask(address, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    connection.request(method, path, body, {"Content-Type": "application/json"} | headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, text


def judgement(path, **changes):
    with Ratings(path) as ratings:
        item = next(iter(ratings.items))
    return {"rater": "ann", "item": item, "question": "fluency", "value": 3, "flipped": False, "time": 5} | changes


def test_an_answer_is_stored_and_given_back_to_its_rater_only(study, serve):
    path = study()
    given = judgement(path)
    with serve(path) as (_, address):
        reply, _ = ask(address, "POST", "/judgements", json.dumps(given))
        assert reply.status == 204
        with Ratings(path) as ratings:
            assert [each.model_dump() for each in ratings.last()] == [given], "stored before the reply"
        assert json.loads(ask(address, "GET", "/answers?rater=Ann")[1]) == [given]
        assert json.loads(ask(address, "GET", "/answers?rater=ben")[1]) == []


def test_what_is_no_answer_is_refused(study, serve):
    path = study()
    with serve(path) as (_, address):
        for change, problem in [
            ({"item": "0" * 12}, "there is no item"),
            ({"question": "beauty"}, "question is 'beauty'"),
            ({"value": 6}, "value is 6"),
            ({"value": "3"}, "value is '3'"),
            ({"value": 2**70}, "value is"),
            ({"rater": "a" * 41}, "rater is"),
            ({"rater": "Ann"}, "expected 'ann'"),
            ({"system": "lstm"}, "unknown field 'system'"),
        ]:
            reply, text = ask(address, "POST", "/judgements", json.dumps(judgement(path, **change)))
            assert (reply.status, problem in text) == (400, True), text
        assert ask(address, "POST", "/judgements", "{")[0].status == 400
        assert ask(address, "GET", "/answers?rater=")[0].status == 400
        big = json.dumps(judgement(path, item="x" * 5_000))
        assert ask(address, "POST", "/judgements", big)[0].status == 413
    with Ratings(path) as ratings:
        assert ratings.last() == []


def test_other_sites_cannot_send_or_read(study, serve):
    path = study()
    given = json.dumps(judgement(path))
    with serve(path) as (_, address):
        assert ask(address, "POST", "/judgements", given, **{"Content-Type": "text/plain"})[0].status == 415
        for method, name in [("GET", "/"), ("GET", "/answers?rater=ann"), ("POST", "/judgements")]:
            assert ask(address, method, name, given, Host="evil.example")[0].status == 421
        preflight, _ = ask(address, "OPTIONS", "/judgements", Origin="https://evil.example")
        assert preflight.status == 405 and "Access-Control-Allow-Origin" not in preflight.headers
    with Ratings(path) as ratings:
        assert ratings.last() == []


@pytest.mark.parametrize("name", ["/ratings.db", "/../ratings.db", "/%2e%2e/ratings.db", "/cube_0.png", "/docs"])
def test_nothing_but_the_page_is_served(study, serve, name):
    with serve(study()) as (_, address):
        assert ask(address, "GET", name)[0].status == 404


def test_hosts(study):
    with Ratings(study()) as ratings:
        for host, headers, status in (
            ("rating.lab", ("127.0.0.1:8766", "localhost", "[::1]:8766", "192.168.0.7:80", "rating.lab:1"), 200),
            ("127.0.0.1", ("evil.example", "127.0.0.1.evil.example:8766", "", "127.0.0.1@evil.example"), 421),
        ):
            client = TestClient(rating_app(ratings, host))
            for header in headers:
                assert client.get("/", headers={"Host": header}).status_code == status, header


@pytest.mark.parametrize("mode", ["scale", "prefer"])
def test_neither_page_tells_whose_a_caption_is_or_what_is_a_check(study, serve, pairs, mode):
    path = study("--mode", mode, "--checks", 0)
    sent = (path.parent / "made.html").read_text()
    with serve(path) as (_, address):
        reply, served = ask(address, "GET", "/")
    assert reply.headers["Cache-Control"] == "no-store"
    for page in (served, sent):
        assert "the cube is gone" in page
        for secret in ("lstm", "transformer", "accepted", "systems", *(said[0] for said in pairs.values()), *pairs):
            # What a caption says itself is no secret.
            shown = any(secret in said for captions in pairs.values() for said in captions[1:])
            assert shown or secret not in page, secret
    with serve(study("--mode", mode, "--checks", 0.5, name="checked.db")) as (_, address):
        _, served = ask(address, "GET", "/")
    sent = (path.parent / "made.html").read_text()
    for page in (served, sent):
        data = json.loads(next(line for line in page.splitlines() if line.startswith("const data = "))[13:-1])
        assert {tuple(item) for item in data["items"]} == {("id", "images", "captions")}
        assert data.keys() == {"study", "served", "questions", "images", "items"}


def test_a_port_in_use_is_one_line(study, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("rate", "--out", study(), "--port", port)
    assert ended.exit_code == 2 and f"port {port}" in ended.stderr and "another --port" in ended.stderr
    assert ended.stderr.count("\n") == 1
