"""The address of a served model, as a user gives it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2


@dataclass(frozen=True)
class Address:
    """Where a model is served.

    Attributes:
        requests: The address of its `/invocations`, which pairs are sent to.
        shown: The server's address as anyone may read it: without the user's name and password.
    """

    requests: str
    shown: str


def read_address(given: str) -> Address:
    """Read an address such as http://127.0.0.1:5001, with or without `/invocations` at its end.

    Raises:
        ValueError: It is none.
    """
    try:
        parts = urlsplit(given)
        port = parts.port  # a ValueError if it is no number, or too large
        if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, parts.netloc)):
            raise ValueError("it names no host")
        if parts.query or parts.fragment or port == 0:
            raise ValueError("it is not a server's alone")
        server = parts._replace(path=parts.path.rstrip("/").removesuffix("/invocations").rstrip("/"))
        httpx2.URL(server.geturl())
    except (ValueError, httpx2.InvalidURL) as error:
        message = f"{given!r} is no address of a server ({error}); expected such as http://127.0.0.1:5001"
        raise ValueError(message) from error
    shown = server._replace(netloc=server.netloc.rpartition("@")[2]).geturl()
    return Address(f"{server.geturl()}/invocations", shown)
