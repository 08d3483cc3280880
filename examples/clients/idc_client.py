"""Client of a served model; one file that needs only the standard library. Copy it.

captions = Client("http://127.0.0.1:5001").caption([("before.png", "after.png")])
print(captions[0]["caption"])
"""

import base64
import json
import os
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypedDict
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

Image = str | Path | bytes
"""A PNG, JPEG or WebP file: its path or its bytes."""


class Alternative(TypedDict):
    """An alternative caption with its natural log-probability."""

    caption: str
    log_prob: float


class Caption(TypedDict):
    """The result for a pair; `change_map` is a data URI of a grey PNG, if it was requested."""

    caption: str
    log_prob: float
    changed: float | None
    alternatives: list[Alternative]
    change_map: str | None
    note: str | None
    familiar: float | None


@dataclass(frozen=True)
class Client:
    """A served model. Sends the variable IDC_TOKEN, if set, as a bearer token; uses no proxy for local servers.

    Attributes:
        address: The address of a server started by `mlflow models serve` or `idc-app`.
        patience: Seconds during which requests to a busy or restarting server are retried.
        timeout: Seconds to wait for one response.
    """

    address: str
    patience: float = 60
    timeout: float = 90

    def caption(self, pairs: Iterable[tuple[Image, Image]], **params: Any) -> list[Caption]:
        """Caption pairs of before and after images in one request: at most 64 pairs, and 64 MiB in total.

        Args:
            pairs: Images of any size.
            **params: beam, max_length, num_captions, sample, temperature, seed, change_map, align.

        Raises:
            ValueError: The server rejects the request; the message says why.
            ConnectionError: The server does not answer.
        """
        rows = [{"before": _coded(before), "after": _coded(after)} for before, after in pairs]
        body = json.dumps({"inputs": rows, "params": params}).encode()
        request = Request(f"{self.address.rstrip('/')}/invocations", body, {"Content-Type": "application/json"})
        if token := _token():
            request.add_unredirected_header("Authorization", f"Bearer {token}")  # not sent on redirects
        here = re.fullmatch(r"localhost|::1|127(\.\d+){3}", urlsplit(self.address).hostname or "")
        opener = build_opener(*[ProxyHandler({})] if here else [])
        give_up, wait = time.monotonic() + self.patience, 0.1
        while True:
            try:
                with opener.open(request, timeout=self.timeout) as reply:
                    return json.load(reply)["predictions"]
            except HTTPError as error:
                with error:
                    message = _message(error.read()) or f"status {error.code}"
                if error.code in (401, 403):
                    message += "; set the variable IDC_TOKEN to the server's token"
                if error.code not in (429, 502, 503, 504):
                    raise ValueError(message) from None
            except (OSError, HTTPException) as error:  # not started yet, or killed while answering
                message = str(error)
            if time.monotonic() + wait > give_up:
                raise ConnectionError(f"no answer from {self.address} in {self.patience:g} s: {message}")
            time.sleep(wait * random.uniform(0.5, 1))  # jitter, so that clients do not retry at once
            wait = min(2 * wait, 5)


def _token() -> str:
    token = os.environ.get("IDC_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("IDC_TOKEN is not a valid token: expected ASCII characters without spaces, on one line")
    return token


def _coded(image: Image) -> str:
    return base64.b64encode(image if isinstance(image, bytes) else Path(image).read_bytes()).decode()


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
