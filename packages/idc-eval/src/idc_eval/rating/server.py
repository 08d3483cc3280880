"""The server of the rating page: serves the page and a rater's own answers, and stores new answers."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from idc_eval.prediction import explain
from idc_eval.rating.page import rating_page
from idc_eval.rating.store import Judgement, Ratings, rater_name

_MAX_BYTES = 2_000  # maximum size of an answer
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def rating_app(ratings: Ratings, host: str) -> Starlette:
    """Make the web application.

    Args:
        ratings: The study, opened in the serving thread.
        host: The name or address to serve at.
    """
    page = rating_page(ratings, served=True)

    async def show(request: Request) -> Response:
        return HTMLResponse(page)

    async def answers(request: Request) -> Response:
        judgements = ratings.last(rater_name(request.query_params.get("rater", "")))
        return JSONResponse([judgement.model_dump() for judgement in judgements])

    async def judge(request: Request) -> Response:
        # Another site's page can send a form without permission, but not JSON.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return PlainTextResponse("expected application/json", 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MAX_BYTES:
                return PlainTextResponse(f"expected at most {_MAX_BYTES} bytes", 413)
        try:
            ratings.add([Judgement.model_validate_json(body)])
        except ValidationError as error:
            raise ValueError(explain(error)) from error
        return Response(status_code=204)

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            response = await _refused_or(endpoint, request, host)
            response.headers.update(_HEADERS)
            return response

        return answer

    return Starlette(
        routes=[
            Route("/", guarded(show)),
            Route("/answers", guarded(answers)),
            Route("/judgements", guarded(judge), methods=["POST"]),
        ]
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises:
        OSError: The port is taken, or this machine has no such address; the message has a remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(
            f"cannot serve at {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from error


def serve(ratings: Ratings, host: str, listening: socket.socket) -> None:
    """Serve the page until the process is interrupted."""
    config = uvicorn.Config(
        rating_app(ratings, host), log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])


async def _refused_or(endpoint: Endpoint, request: Request, host: str) -> Response:
    if not _is_ours(request.headers.get("host", ""), host):
        return PlainTextResponse("this server has another name", 421)
    try:
        return await endpoint(request)
    except ValueError as error:
        return PlainTextResponse(str(error), 400)
    except OSError as error:
        # The page keeps the answer and retries.
        return PlainTextResponse(str(error), 503)


def _is_ours(header: str, host: str) -> bool:
    """Return whether a request's Host names this machine; DNS rebinding can forge names, but not addresses."""
    name = header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]
    if name.lower() in {host.lower(), "localhost", socket.gethostname().lower()}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
