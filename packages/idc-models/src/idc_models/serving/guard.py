"""Stands before the route of a server that captions pairs: what is let in, and how faults are answered.

It is for MLflow's scoring server, which sets no limits, echoes what it was sent, and shows tracebacks.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

from idc_data.wording import suggestion
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

Handler = Callable[[Request], Awaitable[Response]]

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")

_CODES = {
    400: "BAD_REQUEST",
    404: "NOT_FOUND",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL_ERROR",
    502: "BAD_GATEWAY",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPES = {int: "a whole number", float: "a number", bool: "true or false"}
_MOST_SAID = 300  # characters of an answer to a fault: what is echoed in it may be long

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When, by `time.monotonic`, a handler does well to give the request up that it is at; nothing outside a guard."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one server process takes on at a time.

    Attributes:
        body: most bytes of a request.
        bodies: most bytes of all requests together.
        requests: most requests that are worked on or wait.
        marks: most commas and brackets of a request: a little JSON can else become very many objects, or very deep.
        reading: most seconds that a request may take to arrive.
        seconds: most seconds from the beginning of a request to its answer; handlers are told to give up a bit sooner.
        linger: most seconds that a client may go on sending what was refused, to hear why.
    """

    body: int = 64 * 2**20
    bodies: int = 256 * 2**20
    requests: int = 128
    marks: int = 900
    reading: float = 30.0
    seconds: float = 120.0
    linger: float = 10.0


class Refused(Exception):
    """A request that is not let in: its HTTP status, and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Wraps the handler of a route.

    Args:
        limits: what is let in.
        params: the parameters that a request may set, and whether they are int, float or bool.
    """

    def __init__(self, limits: Limits, params: Mapping[str, type]) -> None:
        self._limits, self._params = limits, params
        self._bytes = self._requests = 0  # of all requests; changed in the event loop only
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self, handler: Handler) -> Handler:
        """Gives the handler with the guard before it."""

        @wraps(handler)
        async def answer(request: Request) -> Response:
            begun, limits = time.monotonic(), self._limits
            deadline.set(begun + 0.9 * limits.seconds)
            body, working = bytearray(), None

            def left(_: object = None) -> None:
                self._bytes -= len(body)
                self._requests -= working is not None

            try:
                _check_headers(request, limits)
                await self._read(request, body)
                request._body = bytes(body)  # where Starlette keeps what was read, for the handler
                _check_body(request._body, limits, self._params)
                if self._requests >= limits.requests:
                    raise Refused(429, f"{self._requests} requests are at work already; try again in a moment")
                if self._threads is None:
                    # Handlers run in the loop's default executor, whose few threads would bound a batch.
                    self._threads = ThreadPoolExecutor(limits.requests)
                    asyncio.get_running_loop().set_default_executor(self._threads)
                # A task of its own: when its time is up its thread goes on, and counts until it has ended.
                working = asyncio.ensure_future(handler(request))
                self._requests += 1
                working.add_done_callback(left)
                await asyncio.wait([working], timeout=begun + limits.seconds - time.monotonic())
                if not working.done():
                    raise Refused(429, f"the answer took more than {limits.seconds:.0f} seconds; try again in a moment")
                return _plain(working.result())
            except Refused as refusal:
                if working is None:  # what it took is free while it is heard out
                    left()
                    body.clear()
                if "expect" not in request.headers:  # else it waits to be told before it sends
                    await _let_finish(request, limits.linger)
                return _answer(refusal.status, str(refusal))
            except ClientDisconnect:
                raise
            except Exception:
                # The model's own failures are replies; this is what nobody could make sense of.
                _log.exception("a request could not be read")
                return _answer(400, f"the request could not be read; expected pairs as one of {', '.join(FORMS)}")
            finally:
                if working is None:
                    left()

        return answer

    async def _read(self, request: Request, body: bytearray) -> None:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.reading):
                async for chunk in request.stream():
                    body += chunk
                    self._bytes += len(chunk)
                    if len(body) > limits.body:
                        raise _too_large(limits)
                    if self._bytes > limits.bodies:
                        raise Refused(429, "the server has its hands full with other requests; try again in a moment")
        except TimeoutError:
            message = f"the request did not arrive within {limits.reading:.0f} seconds; send fewer pairs at a time"
            raise Refused(408, message) from None


async def _let_finish(request: Request, seconds: float) -> None:
    """Read what a client is still sending, and keep nothing: it would get a broken connection for an answer."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):  # the last one where all has been read
        async with asyncio.timeout(seconds):
            async for _ in request.stream():
                pass


def _check_headers(request: Request, limits: Limits) -> None:
    kind, *details = (part.strip() for part in request.headers.get("content-type", "").split(";"))
    if kind != "application/json" or any(detail.lower() != "charset=utf-8" for detail in details):
        raise Refused(415, f"the content type is {'; '.join([kind, *details])[:80]!r}; expected application/json")
    if int(request.headers.get("content-length") or 0) > limits.body:
        raise _too_large(limits)


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"the request is longer than {limits.body >> 20} MiB; send fewer pairs, or smaller files")


def _check_body(body: bytes, limits: Limits, params: Mapping[str, type]) -> None:
    if sum(map(body.count, (b",", b"[", b"{"))) > limits.marks:
        raise Refused(400, f"the request has more than {limits.marks} commas and brackets; no request needs as many")
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError) as error:  # numbers of very many digits are ValueErrors too
        raise Refused(400, f"the request is not valid JSON: {error}") from None
    if not isinstance(content, dict) or sum(form in content for form in FORMS) != 1:
        given = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise Refused(400, f"the request holds {_short(str(given), 80)}; expected pairs as one of {', '.join(FORMS)}")
    if unknown := content.keys() - {*FORMS, "params"}:
        raise Refused(400, f"unknown field {min(unknown)[:80]!r}; settings belong in 'params'")
    given = content.get("params") or {}
    if not isinstance(given, dict):
        raise Refused(400, f"params are of type {type(given).__name__}; expected names and values")
    for name, value in given.items():
        if name not in params:
            raise Refused(400, f"unknown parameter {name[:80]!r}{suggestion(name, params)}")
        # In Python true is a whole number, and a whole number is a number.
        fits = (int, float) if params[name] is float else params[name]
        if value is not None and (isinstance(value, bool) != (params[name] is bool) or not isinstance(value, fits)):
            raise Refused(400, f"{name} is {_short(json.dumps(value), 80)}; expected {_TYPES[params[name]]}")


def _plain(response: Response) -> Response:
    """A reply as it is; of one that tells of a fault, the sentence that says which."""
    if response.status_code < 400:
        return response
    text = bytes(response.body).decode()
    try:
        told = json.loads(text)
        message, code = str(told["message"]), str(told["error_code"])
    except (ValueError, TypeError, KeyError):
        message, code = text, ""
    # MLflow tells what it was given first, and then what is wrong with it.
    return _answer(response.status_code, message.rpartition("Error: ")[2], code)


def _answer(status: int, message: str, code: str = "") -> Response:
    content = {"error_code": code or _CODES.get(status, f"HTTP_{status}"), "message": _short(message, _MOST_SAID)}
    return JSONResponse(content, status, {"Retry-After": "1"} if status in (429, 503) else None)


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
