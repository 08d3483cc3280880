"""The guard before a route, called as an ASGI server calls it."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn
from idc_models.serving.guard import Guard, Limits, deadline
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

PARAMS = {"beam": int, "temperature": float, "sample": bool}
LIMITS = Limits(body=1000, bodies=2000, requests=3, marks=20, linger=0.2)
GOOD = b'{"inputs": {"before": "a", "after": "b"}, "params": {"beam": 3, "temperature": 2, "sample": true}}'


async def echo(request):
    return Response(await request.body(), media_type="application/json")


def app(handler=echo, limits=LIMITS):
    return Starlette(routes=[Route("/invocations", Guard(limits, PARAMS)(handler), methods=["POST"])])


async def post(app, *chunks, kind="application/json", length=None):
    """Send a body in chunks; a chunk may be a future, for which the client waits."""
    headers = [(b"content-type", kind.encode())] if kind is not None else []
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    waiting, sent = list(chunks), []

    async def receive():
        if not waiting:
            return {"type": "http.disconnect"}
        chunk = waiting.pop(0)
        chunk = chunk if isinstance(chunk, bytes) else await chunk
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers, "query_string": b""}
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body), dict(sent[0]["headers"])


def told(app, *chunks, **settings):
    status, body, _ = asyncio.run(post(app, *chunks, **settings))
    return status, body.get("message", body)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"]
)
def test_a_good_request_reaches_the_handler_whole(kind):
    assert told(app(), GOOD[:10], GOOD[10:11], b"", GOOD[11:], kind=kind) == (200, json.loads(GOOD))


FAULTS = {
    "no content type": (GOOD, {"kind": None}, 415, "the content type is ''; expected application/json"),
    "another content type": (GOOD, {"kind": "text/csv"}, 415, "the content type is 'text/csv'; expected"),
    "another encoding": (GOOD, {"kind": "application/json; charset=latin-1"}, 415, "charset=latin-1"),
    "too long, as it says": (GOOD, {"length": 1001}, 413, "the request is longer than 0 MiB; send fewer pairs"),
    "too long": (b" " * 1001, {}, 413, "the request is longer than"),
    "very many values": (b'{"inputs": [' + b"1," * 20 + b"1]}", {}, 400, "more than 20 commas and brackets"),
    "very deep": (b'{"inputs": ' + b"[" * 400, {}, 400, "more than 20 commas and brackets"),
    "no JSON": (b'{"inputs": ', {}, 400, "not valid JSON: Expecting value: line 1 column 12"),
    "nothing": (b"", {}, 400, "not valid JSON"),
    "no UTF-8": (b'{"inputs": "\xff"}', {}, 400, "not valid JSON"),
    "a number": (b"5", {}, 400, "the request contains int; expected pairs as one of dataframe_split"),
    "no form": (b'{"params": {}}', {}, 400, "the request contains ['params']; expected pairs as one of"),
    "two forms": (b'{"inputs": 1, "instances": 2}', {}, 400, "the request contains ['inputs', 'instances']"),
    "settings outside": (b'{"inputs": 1, "beam": 3}', {}, 400, "unknown field 'beam'; settings belong in 'params'"),
    "params of no kind": (b'{"inputs": 1, "params": [1]}', {}, 400, "params is of type list"),
}
SETTINGS = {
    '{"beams": 1}': "unknown parameter 'beams'; did you mean 'beam'? Known: beam, sample, temperature",
    '{"beam": 1.5}': "beam is 1.5; expected a whole number",
    '{"beam": true}': "beam is true; expected a whole number",
    '{"temperature": "hot"}': 'temperature is "hot"; expected a number',
    '{"sample": 1}': "sample is 1; expected true or false",
}
FAULTS |= {given: (b'{"inputs": 1, "params": %s}' % given.encode(), {}, 400, said) for given, said in SETTINGS.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_one_sentence(name):
    body, settings, status, message = FAULTS[name]
    got, said = told(app(), body, **settings)
    assert got == status and message in said and "\n" not in said


def test_a_number_of_very_many_digits_is_no_json():
    status, said = told(app(limits=Limits()), b'{"inputs": ' + b"1" * 5000 + b"}")
    assert status == 400 and said.startswith("the request is not valid JSON: Exceeds the limit")


def test_what_the_server_says_of_a_fault_is_cut_to_the_sentence():
    async def mlflow(request):
        content = {
            "error_code": "BAD_REQUEST",
            "message": "Failed to predict data '  before\n0 iVBOR'. \nError: row 0 is\n wrong",
            "stack_trace": 'File "/srv/secret.py"',
        }
        return Response(json.dumps(content), 400, media_type="application/json")

    status, body, _ = asyncio.run(post(app(mlflow), GOOD))
    assert (status, body) == (400, {"error_code": "BAD_REQUEST", "message": "row 0 is wrong"})


def test_a_text_about_a_fault_is_told_too():
    async def plain(request):
        return PlainTextResponse("no, " + "not that " * 100, 415)

    status, body, _ = asyncio.run(post(app(plain), GOOD))
    assert status == 415 and body["error_code"] == "UNSUPPORTED_MEDIA_TYPE" and len(body["message"]) == 300


@pytest.mark.parametrize("status", [400, 404, 405, 408, 418, 500, 502, 503, 504])
@pytest.mark.parametrize("reply", [b"", b"Request processing time exceeded limit", b'{"detail": "no"}', b"[1]"])
def test_a_fault_of_another_server_keeps_its_status(status, reply):
    async def other(request):
        return Response(reply, status)

    got, body, headers = asyncio.run(post(app(other), GOOD))
    assert got == status and body.keys() == {"error_code", "message"} and body["error_code"].isupper()
    assert body["message"] == reply.decode() and (b"retry-after" in headers) == (status == 503)


def test_what_breaks_the_server_breaks_one_request(caplog):
    async def broken(request):
        raise AttributeError("/srv/secret.py has no attribute")

    status, said = told(app(broken), GOOD)
    assert status == 400 and said.startswith("the request could not be read; expected pairs as one of")
    assert "/srv/secret.py" in caplog.text


def test_only_so_many_requests_are_let_in_at_a_time():
    async def crowd():
        done = asyncio.Event()

        async def slow(request):
            await done.wait()
            return await echo(request)

        guarded = app(slow)
        inside = [asyncio.create_task(post(guarded, GOOD)) for _ in range(3)]
        await asyncio.sleep(0.05)
        status, body, headers = await post(guarded, GOOD)
        assert (status, body["error_code"]) == (429, "RESOURCE_EXHAUSTED") and headers[b"retry-after"] == b"1"
        assert body["message"] == "3 requests are already being processed; try again in a moment"
        done.set()
        assert [status for status, _, _ in await asyncio.gather(*inside)] == [200] * 3
        assert (await post(guarded, GOOD))[0] == 200, "and then there is room again"

    asyncio.run(crowd())


def test_only_so_many_bytes_are_held_at_a_time():
    async def crowd():
        guarded = app()
        rest = [asyncio.get_running_loop().create_future() for _ in range(3)]
        begun = [asyncio.create_task(post(guarded, b" " * 900, later)) for later in rest]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        statuses = [task.result()[0] for task in begun if task.done()]
        assert statuses == [429], "the third is over the limit"
        for later in rest:
            if not later.done():  # the third has been given up by the server
                later.set_result(GOOD)
        assert sorted([status for status, _, _ in await asyncio.gather(*begun)]) == [200, 200, 429]
        assert (await post(guarded, GOOD))[0] == 200

    asyncio.run(crowd())


def test_a_request_that_does_not_arrive_is_given_up_and_leaves_room():
    async def crowd():
        guarded = app(limits=replace(LIMITS, reading=0.2))
        never = [asyncio.get_running_loop().create_future() for _ in range(2)]
        stalled = [asyncio.create_task(post(guarded, b" " * 900, later)) for later in never]
        await asyncio.sleep(0.05)
        assert (await post(guarded, GOOD.ljust(300)))[0] == 429, "they hold the bytes"
        for status, body, _ in await asyncio.wait_for(asyncio.gather(*stalled), 30):
            assert (status, body["error_code"]) == (408, "REQUEST_TIMEOUT")
            assert body["message"] == "the request did not arrive within 0 seconds; send fewer pairs at a time"
        assert (await post(guarded, GOOD.ljust(900)))[0] == 200

    asyncio.run(crowd())


def test_an_answer_that_takes_too_long_is_not_waited_for_and_its_work_counts_until_it_ends():
    may_end = threading.Event()
    told_to_end = []

    def work():
        told_to_end.append(deadline.get() - time.monotonic())
        assert may_end.wait(30)

    async def slow(request):
        await asyncio.to_thread(work)
        return await echo(request)

    async def crowd():
        guarded = app(slow, replace(LIMITS, requests=1, seconds=0.3))
        status, body, _ = await post(guarded, GOOD)
        assert (status, body["message"]) == (429, "the answer took more than 0 seconds; try again in a moment")
        assert 0 < told_to_end[0] < 0.3, "it could have ended by itself"
        assert (await post(guarded, GOOD))[1][
            "message"
        ] == "1 requests are already being processed; try again in a moment"
        may_end.set()
        while (await post(guarded, GOOD))[0] != 200:
            await asyncio.sleep(0.01)

    asyncio.run(crowd())
    assert deadline.get() is None


@contextmanager
def listening(app):
    """The address of a real server."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        try:
            yield port.getsockname()
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize(
    ("kind", "limits", "status"), [("text/csv", Limits(), 415), ("application/json", Limits(body=1000), 413)]
)
def test_a_client_that_sends_much_in_vain_hears_why(kind, limits, status):
    with listening(app(limits=limits)) as (host, port):
        request = Request(f"http://{host}:{port}/invocations", bytes(20_000_000), {"Content-Type": kind})
        with pytest.raises(HTTPError) as refusal, urlopen(request, timeout=300):
            pass
        with refusal.value as error:
            assert error.code == status and json.load(error)["message"]


def test_a_client_that_stalls_is_told_and_does_not_keep_others_out():
    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    with listening(app(limits=replace(LIMITS, bodies=1000, reading=0.5))) as address:
        with socket.create_connection(address, timeout=300) as client:
            client.sendall(head + b" " * 899)
            assert client.recv(100).startswith(b"HTTP/1.1 408")
        request = Request(f"http://{address[0]}:{address[1]}/invocations", GOOD, {"Content-Type": "application/json"})
        with urlopen(request, timeout=300) as reply:
            assert reply.status == 200


def test_a_client_that_asks_before_it_sends_is_answered_at_once():
    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: 9999\r\n"
    with listening(app(limits=Limits(linger=60))) as address, socket.create_connection(address, timeout=300) as client:
        client.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 415")
