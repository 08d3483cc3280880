"""The web page and its server, which also answers `/invocations` like `mlflow models serve`.

The folder `page/` holds everything that the page needs. The browser resizes images and unpacks zips; neither file names
nor addresses are sent to the server, which opens neither.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from socket import socket

from idc_models.checkpoint import open_checkpoint
from idc_models.description import EXAMPLES, FAMILIAR, Description, read_description
from idc_models.serving.guard import Guard, Handler, Limits
from idc_models.serving.settings import KINDS
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idc_run.address import is_here, read_address
from idc_run.serving.form import fields

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-cache",
    # Images come from the server, from chosen files (blob) and from responses (data).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SIDES = ("before", "after")


def page_app(
    answer: Handler, model: str, host: str, description: Description | None = None, names: Sequence[str] = ()
) -> Starlette:
    """Create the web application.

    Args:
        answer: Handler of `/invocations`: `model_in_process` or `model_elsewhere`.
        model: The displayed name of the model.
        host: The host name or address of the server.
        description: Description of its training data, with example pairs; None if unknown.
        names: Further allowed host names from `read_host`, such as that of a proxy.
    """
    files = {path.name: path.read_bytes() for path in _PAGE.iterdir()}
    files["app.html"] = files["app.html"].replace(b"<!-- settings -->", fields().encode())
    pairs = description.examples if description else ()
    pictures = {
        f"{row}-{side}.webp": content
        for row, pair in enumerate(pairs)
        for side, content in zip(_SIDES, pair, strict=True)
    }

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "app.html")
        if name not in files:
            return Response(status_code=404)
        return Response(files[name], media_type=_TYPES[Path(name).suffix])

    async def about(request: Request) -> Response:
        return JSONResponse({"model": model, "trained": description and description.sentence()})

    async def examples(request: Request) -> Response:
        return JSONResponse([{side: f"examples/{row}-{side}.webp" for side in _SIDES} for row in range(len(pairs))])

    async def example(request: Request) -> Response:
        found = pictures.get(request.path_params["name"])
        return Response(found, media_type="image/webp") if found else Response(status_code=404)

    async def health(request: Request) -> Response:
        return Response("\n", media_type="application/json")

    # Against DNS rebinding: another site's name may resolve to this machine, but cannot send another Host.
    here = is_here(host)
    known = dict.fromkeys([*_LOOPBACK, host])
    hosts = [*map(read_host, known), *names] if here or names else ["*"]
    return Starlette(
        routes=[
            Route("/", page),
            Route("/page/{name}", page),
            Route("/about", about),
            Route("/examples", examples),
            Route("/examples/{name}", example),
            Route("/invocations", answer, methods=["POST"]),
            Route("/health", health),
            Route("/ping", health),
        ],
        middleware=[Middleware(_Headers), Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
    )


def read_host(name: str) -> str:
    """Normalise a host name to the form in which browsers send it in the `Host` header, without the port.

    Args:
        name: For example captions.example.org, *.example.org (all its subdomains), an IP address, or * for any name.

    Raises:
        ValueError: The name is invalid.
    """
    try:
        address = ip_address(name.strip("[]"))
        return f"[{address}]" if address.version == 6 else str(address)
    except ValueError:
        pass
    try:
        plain = name.encode("idna").decode().lower()
    except UnicodeError:
        plain = ""
    if name == "*" or re.fullmatch(
        r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", plain
    ):
        return plain
    raise ValueError(
        f"{name!r} is not a valid host name; expected one such as captions.example.org, without http:// and port, or "
        "*.example.org"
    )


def description_of(checkpoint: Path) -> Description | None:
    """Read the description of a checkpoint's training data; None for older checkpoints.

    Raises:
        ValueError: The file is not a checkpoint.
    """
    return read_description(open_checkpoint(checkpoint, lambda name: name.startswith((FAMILIAR, EXAMPLES))))


def model_in_process(checkpoint: Path) -> Handler:
    """Return a handler that runs a checkpoint behind MLflow's scoring server, with the same formats and checks.

    Raises:
        ValueError: The file is not a checkpoint.
    """
    from idc_run.tracking.scoring import Answering, endpoint

    def load() -> Answering:
        from idc_run.serving.served_model import CaptionerModel  # imports MLflow, after `endpoint` has silenced it

        model = CaptionerModel()
        model.load(checkpoint)
        return model

    return Guard(Limits(reading=27, seconds=54), KINDS)(endpoint(load, checkpoint))  # the limits of a served model


def model_elsewhere(address: str) -> Handler:
    """Return a handler that forwards requests unchanged to the `/invocations` of a served model.

    Args:
        address: The server's address, such as http://127.0.0.1:5001.

    Raises:
        ValueError: The address is invalid.
    """
    import httpx2

    server = read_address(address)
    client = httpx2.AsyncClient(
        **server.client(),
        timeout=httpx2.Timeout(120, connect=5),
        limits=httpx2.Limits(max_keepalive_connections=0),  # leave no connection open at exit
        follow_redirects=False,
    )

    async def forward(request: Request) -> Response:
        try:
            reply = await client.post(
                server.requests,
                content=await request.body(),
                headers={"Content-Type": "application/json"},
            )
        except httpx2.TransportError:
            message = "the model server cannot be reached; is it running?"
            return JSONResponse({"error_code": "BAD_GATEWAY", "message": message}, 502)
        return Response(reply.content, reply.status_code, media_type="application/json")

    return Guard(Limits(), KINDS)(forward)


def serve(app: Starlette, listening: socket) -> None:
    """Serve the page until the process is interrupted."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listening])


class _Headers:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, tell)
