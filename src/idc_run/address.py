"""Addresses as a user gives them: read, shown without their passwords, and asked with or without a proxy."""

import os
import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

TOKEN = "IDC_TOKEN"
"""The variable with the bearer token of a served model: on a command line all users of the machine could read it."""

_LOGIN = re.compile(r"(?<=://)(?:[^\s/:]*:(?!\d+/)\S*|[^\s/]*)@|(?<=[?&]password=)[^\s&'\"]+")
"""A login within an address; passwords with a slash and those that come as a parameter of a database's too."""


def mask(text: str) -> str:
    """Hide the logins of all addresses in a text that people or files may get: `http://***@host`."""
    return _LOGIN.sub(lambda found: "***@" if found[0].endswith("@") else "***", text)


def is_here(host: str) -> bool:
    """Whether a host is this very machine, to which no proxy leads."""
    return re.fullmatch(r"localhost|::1|127(\.\d+){3}", host) is not None


@dataclass(frozen=True)
class Address:
    """Where a model is served.

    Attributes:
        requests: The address of its `/invocations`, which pairs are sent to.
        shown: The server's address as anyone may read it: without the user's name and password.
    """

    requests: str
    shown: str

    def client(self) -> dict[str, Any]:
        """What an httpx2 client is made with: the token of IDC_TOKEN, and a proxy of the usual variables if elsewhere.

        Raises:
            ValueError: The token can be none, or the proxy cannot be used.
        """
        token = os.environ.get(TOKEN, "").strip()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError(f"{TOKEN} holds no token: expected ASCII signs without spaces, on one line")
        options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {token}"} if token else {}}
        server = urlsplit(self.shown)
        if is_here(server.hostname or ""):
            options["trust_env"] = False
            if server.scheme == "https":
                options["verify"] = ssl.create_default_context()  # else SSL_CERT_FILE would go with the proxy
        else:
            _try_proxy()
        return options


def _try_proxy() -> None:
    """See that a client can be made with the proxies of the usual variables."""
    import httpx2

    variables = "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
    try:
        httpx2.Client().close()
    except ImportError as error:
        message = f"{variables} is a SOCKS proxy: `uv pip install socksio`, or name one that begins with http://"
        raise ValueError(message) from error
    except (ValueError, httpx2.InvalidURL) as error:
        raise ValueError(f"{variables} is none ({mask(str(error))}); expected such as http://host:3128") from error


def read_address(given: str) -> Address:
    """Read an address such as http://127.0.0.1:5001, with or without `/invocations` at its end.

    Raises:
        ValueError: It is none.
    """
    import httpx2  # takes a third of a second, and all commands mask what they say

    try:
        parts = urlsplit(given)
        port = _port(parts)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, parts.netloc)):
            raise ValueError("it names no host")
        if parts.query or parts.fragment or port == 0:
            raise ValueError("it is not a server's alone")
        server = parts._replace(path=parts.path.rstrip("/").removesuffix("/invocations").rstrip("/"))
        httpx2.URL(server.geturl())
    except (ValueError, httpx2.InvalidURL) as error:
        message = (
            f"{mask(given)!r} is no address of a server ({mask(str(error))}); expected such as http://127.0.0.1:5001"
        )
        raise ValueError(message) from error
    shown = server._replace(netloc=server.netloc.rpartition("@")[2]).geturl()
    return Address(f"{server.geturl()}/invocations", shown)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:  # its text may show a part of a password
        raise ValueError("its port is no number up to 65535") from None
