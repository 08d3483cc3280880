"""Guards the route of a server that captions pairs: limits requests, and shortens answers to faulty ones.

It is made for MLflow's scoring server, which sets no limits, echoes the request in errors, and shows tracebacks.
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
_MOST_SAID = 300  # maximum characters of an error message, which may echo a long input

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""Time, by `time.monotonic`, at which a handler should give up its request; None without a guard."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of one server process.

    Attributes:
        body: Maximum bytes of a request.
        bodies: Maximum bytes of all requests together.
        requests: Maximum number of requests being processed or waiting.
        marks: Maximum number of commas and opening brackets in a request; otherwise a short JSON text could expand to
            very many or deeply nested objects.
        reading: Maximum seconds for a request to arrive.
        seconds: Maximum seconds from the start of a request to its answer; handlers should give up a little earlier.
        linger: Maximum seconds to keep reading a refused request, so that the client receives the answer.
    """

    body: int = 64 * 2**20
    bodies: int = 256 * 2**20
    requests: int = 128
    marks: int = 900
    reading: float = 30.0
    seconds: float = 120.0
    linger: float = 10.0


class Refused(Exception):
    """A refused request: its HTTP status and the reason in one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Wraps the handler of a route.

    Args:
        limits: The limits of the server process.
        params: The parameters that a request may set -> their type: int, float or bool.
    """

    def __init__(self, limits: Limits, params: Mapping[str, type]) -> None:
        self._limits, self._params = limits, params
        self._bytes = self._requests = 0  # totals over all requests; changed in the event loop only
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self, handler: Handler) -> Handler:
        """Return the handler wrapped in the guard."""

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
                request._body = bytes(body)  # Starlette's cache, from which the handler reads
                _check_body(request._body, limits, self._params)
                if self._requests >= limits.requests:
                    raise Refused(429, f"{self._requests} requests are already being processed; try again in a moment")
                if self._threads is None:
                    # Handlers run in the loop's default executor, whose few threads would limit the batch size.
                    self._threads = ThreadPoolExecutor(limits.requests)
                    asyncio.get_running_loop().set_default_executor(self._threads)
                # In a separate task: after a timeout its thread continues, and counts until it ends.
                working = asyncio.ensure_future(handler(request))
                self._requests += 1
                working.add_done_callback(left)
                await asyncio.wait([working], timeout=begun + limits.seconds - time.monotonic())
                if not working.done():
                    raise Refused(429, f"the answer took more than {limits.seconds:.0f} seconds; try again in a moment")
                return _plain(working.result())
            except Refused as refusal:
                if working is None:  # release its memory before reading the rest
                    left()
                    body.clear()
                if "expect" not in request.headers:  # with that header, the client waits before sending
                    await _let_finish(request, limits.linger)
                return _answer(refusal.status, str(refusal))
            except ClientDisconnect:
                raise
            except Exception:
                # Failures of the model are responses; this is an unexpected error of the server.
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
                        raise Refused(429, "the server is busy with other requests; try again in a moment")
        except TimeoutError:
            message = f"the request did not arrive within {limits.reading:.0f} seconds; send fewer pairs at a time"
            raise Refused(408, message) from None


async def _let_finish(request: Request, seconds: float) -> None:
    """Read and discard the rest of a request: otherwise the client sees a broken connection instead of the answer."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError if everything has been read
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
        raise Refused(400, f"the request has more than {limits.marks} commas and brackets; send fewer pairs")
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError) as error:  # numbers of very many digits are ValueErrors too
        raise Refused(400, f"the request is not valid JSON: {error}") from None
    if not isinstance(content, dict) or sum(form in content for form in FORMS) != 1:
        given = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise Refused(
            400, f"the request contains {_short(str(given), 80)}; expected pairs as one of {', '.join(FORMS)}"
        )
    if unknown := content.keys() - {*FORMS, "params"}:
        raise Refused(400, f"unknown field {min(unknown)[:80]!r}; settings belong in 'params'")
    given = content.get("params") or {}
    if not isinstance(given, dict):
        raise Refused(400, f"params is of type {type(given).__name__}; expected an object of names and values")
    for name, value in given.items():
        if name not in params:
            raise Refused(400, f"unknown parameter {name[:80]!r}{suggestion(name, params)}")
        # In Python bool is a subclass of int, and an int is a valid float.
        fits = (int, float) if params[name] is float else params[name]
        if value is not None and (isinstance(value, bool) != (params[name] is bool) or not isinstance(value, fits)):
            raise Refused(400, f"{name} is {_short(json.dumps(value), 80)}; expected {_TYPES[params[name]]}")


def _plain(response: Response) -> Response:
    """Return a response unchanged, or an error reduced to one sentence."""
    if response.status_code < 400:
        return response
    text = bytes(response.body).decode()
    try:
        told = json.loads(text)
        message, code = str(told["message"]), str(told["error_code"])
    except (ValueError, TypeError, KeyError):
        message, code = text, ""
    # MLflow states the input first, then what is wrong with it.
    return _answer(response.status_code, message.rpartition("Error: ")[2], code)


def _answer(status: int, message: str, code: str = "") -> Response:
    content = {"error_code": code or _CODES.get(status, f"HTTP_{status}"), "message": _short(message, _MOST_SAID)}
    return JSONResponse(content, status, {"Retry-After": "1"} if status in (429, 503) else None)


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
