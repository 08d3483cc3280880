"""The endpoint writer, against a real HTTP server that has faults."""

import json
import socket
import threading
import time
from collections import Counter
from importlib.util import find_spec

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from idc_data.generate.answer import answer_schema
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asking, Local, Question
from idc_data.generate.chat import OpenAi
from idc_data.generate.difference import Captioned
from idc_data.generate.endpoint import REFUSED, Endpoint

GOOD = {"caption": "the dog is gone", "change_type": "drop", "confidence": 0.9}


def question_of(body):
    """What is asked about the pair: the last turn of the user, but for repairs."""
    turns = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
    words = [text if isinstance(text, str) else text[-1]["text"] for text in turns]
    return next(text for text in reversed(words) if "JSON object alone" not in text)


def is_repair(body):
    return "JSON object alone" in body["messages"][-1]["content"]


class Faulty:
    """An OpenAI-compatible server; `faults` says what goes wrong with the first requests about a text."""

    def __init__(self):
        self.app, self.faults, self.answered = FastAPI(), {}, Counter()
        self.bodies, self.keys = [], []
        self.at_once = self.most_at_once = 0
        self.answer = lambda body: json.dumps(GOOD)
        self.app.post("/v1/chat/completions")(self.complete)

    async def complete(self, request: Request) -> Response:
        import asyncio

        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        words = question_of(body)
        name = next((key for key in self.faults if key in words), None)
        fault = self.faults[name].pop(0) if name and self.faults[name] else None
        if fault == "slow":
            await asyncio.sleep(5)
        elif fault == "429":
            return JSONResponse({"error": "slow down"}, 429, {"Retry-After": "0.05"})
        elif fault == "malformed":
            return PlainTextResponse('{"choices": [')
        elif fault == "empty":
            return JSONResponse({"choices": []})
        elif fault == "cut":

            async def cut():
                yield b'{"choices'
                raise ConnectionResetError

            return StreamingResponse(cut(), headers={"Content-Length": "1000"})
        elif fault:
            return JSONResponse({"error": f"fault {fault}"}, int(fault))
        self.answered[json.dumps(body["messages"])] += 1
        said = {"role": "assistant", "content": self.answer(body)}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        return JSONResponse({"choices": [{"message": said}], "usage": usage})


@pytest.fixture
def server():
    faulty = Faulty()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(faulty.app, port=port, log_level="critical", ws="none"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    faulty.url = f"http://127.0.0.1:{port}/v1"
    yield faulty
    running.should_exit = True
    thread.join()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Retries come soon."""
    monkeypatch.setattr("idc_data.generate.endpoint.RETRY_WAIT", lambda state: 0.01)


@pytest.fixture
def asking(tmp_path):
    return Asking(Answers(tmp_path / "answers.sqlite"), Local(), lambda what, description, length: what)


def questions(*texts):
    return [Question({"chat": [{"role": "user", "content": text}]}) for text in texts]


def pairs(num):
    return [Captioned(f"b{n}", f"a{n}", ("b", "a"), (f"dog number {n}.",), ("an empty lawn",)) for n in range(num)]


def test_every_fault_is_survived_and_nothing_is_asked_again_after_success(server, asking):
    server.faults = {
        "number 3.": ["429", "429"],
        "number 5.": ["500", "503"],
        "number 7.": ["slow"],
        "number 9.": ["malformed", "empty"],
        "number 11.": ["cut", "cut"],
    }
    writer = OpenAi(model="m", url=server.url, timeout=3, concurrency=4, price_in=10, price_out=100)
    written = writer(pairs(30), asking)
    assert [difference.references for difference in written] == [("the dog is gone",)] * 30
    assert set(server.answered.values()) - {1, 2} == set()
    # The slow one was answered after all, when nobody listened any more.
    assert sum(server.answered.values()) <= 31 and len(server.answered) == 30
    assert 1 < server.most_at_once <= 5
    assert asking.spent.notes() == {
        "asked of a model": 30,
        "tokens read": 3000,
        "tokens written": 600,
        "cost": round(30 * (100 * 10 + 20 * 100) / 1e6, 4),
    }
    asked = len(server.bodies)
    assert writer(pairs(30), asking) == written and len(server.bodies) == asked
    sent = server.bodies[0]
    assert sent["response_format"]["json_schema"]["schema"] == answer_schema(1) and sent["temperature"] == 0


def test_what_was_said_before_the_endpoint_broke_down_is_kept(server, asking):
    server.faults = {"number 20.": ["500"] * 9}
    broken = OpenAi(model="m", url=server.url, retries=2, concurrency=4)
    with pytest.raises(ValueError, match=r"3 attempts.*HTTP 500.*start again"):
        broken(pairs(30), asking)
    before = dict(server.answered)
    assert before and set(before.values()) == {1}
    server.faults = {}
    assert len(OpenAi(model="m", url=server.url, concurrency=4)(pairs(30), asking)) == 30
    assert set(server.answered.values()) == {1} and len(server.answered) == 30


def test_a_question_that_is_refused_is_set_aside_but_not_all_of_them(server, asking):
    server.faults = {"number 2.": ["400"] * 9}
    written = OpenAi(model="m", url=server.url)(pairs(5), asking)
    assert written[2].rejected.startswith(REFUSED) and "fault 400" in written[2].rejected
    assert sum(not difference.rejected for difference in written) == 4
    server.faults = {"number": ["422"] * 99}
    with pytest.raises(ValueError, match="took none of 5 questions: HTTP 422"):
        OpenAi(model="another", url=server.url)(pairs(5), asking)


@pytest.mark.parametrize(("status", "message"), [("401", "environment variable OPENAI_API_KEY"), ("404", "HTTP 404")])
def test_settings_at_fault_are_said_at_once(server, asking, status, message):
    server.faults = {"number": [status] * 99}
    with pytest.raises(ValueError, match=message):
        OpenAi(model="m", url=server.url, concurrency=1)(pairs(9), asking)
    assert len(server.bodies) <= 2


def test_no_server_at_all(asking):
    with pytest.raises(ValueError, match="no answer in 2 attempts, the last: ConnectError"):
        list(Endpoint(model="m", url="http://127.0.0.1:9/v1", retries=1).ask(questions("a")))


def test_this_machine_is_asked_without_the_proxy_of_the_environment(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    list(Endpoint(model="m", url=server.url, retries=0).ask(questions("a")))
    assert len(server.bodies) == 1


@pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed")
def test_a_socks_proxy_that_needs_a_package_is_told(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@127.0.0.1:9")
    with pytest.raises(ValueError, match="is a SOCKS proxy: `uv pip install socksio`"):
        list(Endpoint(model="m", url="http://models.example.org/v1").ask(questions("a")))


def test_the_key_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    list(Endpoint(model="m", url=server.url, key_variable="MY_KEY").ask(questions("a")))
    assert server.keys == ["Bearer secret"]


def test_requests_keep_the_pace(server):
    began = time.monotonic()
    list(Endpoint(model="m", url=server.url, requests_per_minute=1200, concurrency=8).ask(questions(*"abcdefg")))
    assert time.monotonic() - began >= 6 * 0.05  # a bound from below: a slow machine cannot break it


def test_a_wrong_answer_is_repaired_once_and_else_rejected(server, asking):
    def answer(body):
        words = question_of(body)
        if "number 1." in words and not is_repair(body):
            return '{"caption": "the dog is gone", "change_type": "vanished", "confidence": 1}'
        return "I would rather not." if "number 2." in words else json.dumps(GOOD)

    server.answer = answer
    written = OpenAi(model="m", url=server.url)(pairs(4), asking)
    assert [difference.rejected for difference in written] == [None, None, "I would rather not.", None]
    repairs = [body["messages"] for body in server.bodies if is_repair(body)]
    assert len(repairs) == 2 and any("change_type" in turns[-1]["content"] for turns in repairs)


def test_paraphrases_are_references(server, asking):
    server.answer = lambda body: json.dumps({**GOOD, "paraphrases": ["no dog any more", "the dog left"]})
    (written,) = OpenAi(model="m", url=server.url, references=3)(pairs(1), asking)
    assert written.references == ("the dog is gone", "no dog any more", "the dog left")
    assert "paraphrases" in server.bodies[0]["response_format"]["json_schema"]["schema"]["required"]
    examples = [turn["content"] for turn in server.bodies[0]["messages"] if turn["role"] == "assistant"]
    assert len(examples) == 3 and all(len(json.loads(text)["paraphrases"]) == 2 for text in examples)
    server.answer = lambda body: json.dumps(GOOD)
    (written,) = OpenAi(model="other", url=server.url, references=3)(pairs(1), asking)
    assert written.rejected


@pytest.mark.parametrize(
    ("forth", "back", "fits"),
    [
        ("drop", "add", True),
        ("drop", "drop", False),
        ("none", "none", True),
        ("none", "other", False),
        ("attribute", "attribute", True),
        ("replace", "add", False),
        ("other", "replace", True),
        ("add", "other", True),
    ],
)
def test_contradictions_of_the_two_orders_are_rejected(server, asking, forth, back, fits):
    def answer(body):
        words = question_of(body)
        return json.dumps({**GOOD, "change_type": forth if words.index("dog number") < words.index("lawn") else back})

    server.answer = answer
    (written,) = OpenAi(model="m", url=server.url, both_orders=True)(pairs(1), asking)
    assert len(server.bodies) == 2
    assert (written.rejected is None) == fits, written
    assert fits or written.rejected.startswith(f"contradiction: {forth}: the dog is gone")


def test_an_endpoint_is_checked_by_a_question_of_few_tokens(server):
    Endpoint(model="m", url=server.url, schema=answer_schema(1)).check()
    assert server.bodies[0]["max_tokens"] < 10 and "response_format" not in server.bodies[0]
    with pytest.raises(ValueError, match="cannot be reached"):
        Endpoint(model="m", url="http://127.0.0.1:9/v1").check()
    server.faults = {"OK": ["429", "401"]}
    Endpoint(model="m", url=server.url).check()  # a busy server is waited for when it is asked
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        Endpoint(model="m", url=server.url).check()


def test_an_endpoint_that_ignores_the_schema_is_warned_about_once(server, asking, caplog):
    writer = OpenAi(model="m", url=server.url)
    writer(pairs(2), asking)
    assert not caplog.records
    server.answer = lambda body: f"Sure! {json.dumps(GOOD)}"
    OpenAi(model="other", url=server.url, json_schema=False)(pairs(3), asking)
    assert not caplog.records
    written = OpenAi(model="another", url=server.url, stop=("###",))(pairs(3), asking)
    assert [record.getMessage() for record in caplog.records if "response_format" in record.getMessage()][1:] == []
    assert "does not follow the JSON schema" in caplog.text and all(not each.rejected for each in written)
    assert server.bodies[-1]["stop"] == ["###"]


def test_images_are_sent_along(server, asking, photos):
    files = (str(photos / "0_0.png"), str(photos / "0_1.png"))
    pair = Captioned("b", "a", files, ("a dog",), ("a cat",))
    OpenAi(model="m", url=server.url, images=True)([pair], asking)
    (content,) = [turn["content"] for turn in server.bodies[0]["messages"] if turn["role"] == "user"]
    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
