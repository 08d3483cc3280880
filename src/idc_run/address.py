"""Server addresses: parsing, display without passwords, and client options such as proxies."""

import os
import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

TOKEN = "IDC_TOKEN"
"""Environment variable with a server's bearer token; all users of a machine can read command lines."""

_LOGIN = re.compile(r"(?<=://)(?:[^\s/:]*:(?!\d+/)\S*|[^\s/]*)@|(?<=[?&]password=)[^\s&'\"]+")
"""A login in an address, including passwords with a slash and a database URL's `password=` parameter."""


def mask(text: str) -> str:
    """Hide the logins of all addresses in a text for display or files: `http://***@host`."""
    return _LOGIN.sub(lambda found: "***@" if found[0].endswith("@") else "***", text)


def is_here(host: str) -> bool:
    """Return whether a host is this machine, which is never reached through a proxy."""
    return re.fullmatch(r"localhost|::1|127(\.\d+){3}", host) is not None


@dataclass(frozen=True)
class Address:
    """The address of a served model.

    Attributes:
        requests: The full address of `/invocations`, with the login.
        shown: The server's address without the login, for display.
    """

    requests: str
    shown: str

    def client(self) -> dict[str, Any]:
        """Return the options of an httpx2 client: the token in IDC_TOKEN, and no proxy for servers on this machine.

        Raises:
            ValueError: The token is malformed, or the proxy cannot be used.
        """
        token = os.environ.get(TOKEN, "").strip()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError(f"{TOKEN} is not a valid token: expected ASCII characters without spaces, on one line")
        options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {token}"} if token else {}}
        server = urlsplit(self.shown)
        if is_here(server.hostname or ""):
            options["trust_env"] = False
            if server.scheme == "https":
                options["verify"] = ssl.create_default_context()  # trust_env=False also ignores SSL_CERT_FILE
        else:
            _try_proxy()
        return options


def _try_proxy() -> None:
    """Check that the proxies in the environment variables are usable."""
    import httpx2

    variables = "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
    try:
        httpx2.Client().close()
    except ImportError as error:
        message = f"{variables} is a SOCKS proxy: run `uv pip install socksio`, or use one that begins with http://"
        raise ValueError(message) from error
    except (ValueError, httpx2.InvalidURL) as error:
        raise ValueError(
            f"{variables} is invalid ({mask(str(error))}); expected an address such as http://host:3128"
        ) from error


def read_address(given: str) -> Address:
    """Parse an address such as http://127.0.0.1:5001, with or without `/invocations` at its end.

    Raises:
        ValueError: The address is invalid.
    """
    import httpx2  # imported here: it takes a third of a second, and all commands import this module

    try:
        parts = urlsplit(given)
        port = _port(parts)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, parts.netloc)):
            raise ValueError("it has no host name")
        if parts.query or parts.fragment or port == 0:
            raise ValueError("it has a query, a fragment or port 0")
        server = parts._replace(path=parts.path.rstrip("/").removesuffix("/invocations").rstrip("/"))
        httpx2.URL(server.geturl())
    except (ValueError, httpx2.InvalidURL) as error:
        message = (
            f"{mask(given)!r} is not a valid server address ({mask(str(error))}); "
            "expected one such as http://127.0.0.1:5001"
        )
        raise ValueError(message) from error
    shown = server._replace(netloc=server.netloc.rpartition("@")[2]).geturl()
    return Address(f"{server.geturl()}/invocations", shown)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:  # its message may contain a part of a password
        raise ValueError("its port is not a number up to 65535") from None
