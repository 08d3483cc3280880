"""A client of a served model with the interface of a local one."""

import base64
import io
import logging
import random
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from idc_models.serving.inference import Alternative, Caption, Image
from PIL import Image as Picture

from idc_run.address import TOKEN, read_address

_AGAIN = (429, 502, 503, 504)  # busy or restarting
PATIENCE = 60  # seconds of retries: a server takes up to 20 to start
_MOST_PAIRS = 16
_MOST_BYTES = 16_000_000  # image bytes per request
_KINDS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")  # signatures of formats that every server accepts

_log = logging.getLogger(__name__)


class RemoteCaptioner:
    """Captions pairs at the REST endpoint of a served model, with the interface of `PairCaptioner`.

    The environment variable IDC_TOKEN, if set, is sent as a bearer token.

    Args:
        address: The server's address, such as http://127.0.0.1:5001.
        timeout: Seconds to wait for one response.

    Raises:
        ValueError: The address is invalid.
    """

    def __init__(self, address: str, timeout: float = 120) -> None:
        self._address = read_address(address)
        self._options = self._address.client()
        self._timeout = httpx2.Timeout(timeout, connect=5)

    def caption(self, pairs: Sequence[tuple[Image, Image]], **params: Any) -> list[Caption]:
        """Caption pairs, in as many requests as necessary.

        Args:
            pairs: Before and after images of any size.
            **params: Settings as for `PairCaptioner.caption`; None selects the server's default.

        Raises:
            ValueError: The server rejects a pair or a parameter.
            ConnectionError: The server cannot be reached, or stays busy.
        """
        params = {name: value for name, value in params.items() if value is not None}
        captions, waiting = [], []
        with httpx2.Client(timeout=self._timeout, **self._options) as client:
            for before, after in pairs:
                sides = _contents(before, after)
                if len(waiting) == _MOST_PAIRS or sum(map(len, chain(sides, *waiting))) > _MOST_BYTES:
                    captions += self._ask(client, waiting, params)
                    waiting = []
                waiting.append(sides)
            return captions + self._ask(client, waiting, params)

    def _ask(self, client: httpx2.Client, pairs: list[list[bytes]], params: dict[str, Any]) -> list[Caption]:
        if not pairs:
            return []
        rows = [[base64.b64encode(side).decode() for side in pair] for pair in pairs]
        body = {"dataframe_split": {"columns": ["before", "after"], "data": rows}, "params": params}
        server, wait, give_up = self._address.shown, 0.25, time.monotonic() + PATIENCE
        while True:
            try:
                reply = client.post(self._address.requests, json=body)
            except httpx2.TransportError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    message = (
                        f"the certificate of {server} is not trusted: set SSL_CERT_FILE to a file that contains it"
                    )
                    raise ValueError(message) from error
                trouble = f"no answer from {server} ({error}); is the model served?"
            else:
                if reply.status_code == 200:
                    return _captions(reply, server, len(pairs))
                if reply.status_code in (401, 403):
                    raise ValueError(
                        f"{server} denies access ({reply.status_code}): set the variable {TOKEN} to its token, or give "
                        "a "
                        "login as http://user:password@host"
                    )
                if reply.status_code not in _AGAIN:
                    raise ValueError(f"{server} rejects the request: {_message(reply)}")
                trouble = f"{server} stays busy: {_message(reply)}"
            if time.monotonic() + wait > give_up:
                raise ConnectionError(trouble)
            if wait == 2:  # do not report short delays
                _log.warning("%s Retrying for %d s", trouble, PATIENCE)
            time.sleep(wait * random.uniform(0.5, 1))  # jitter, so that clients do not retry at once
            wait = min(2 * wait, 5)


def _contents(before: Image, after: Image) -> list[bytes]:
    """Return two files unchanged if every server accepts their formats, otherwise as PNG files."""
    given = [image.read_bytes() if isinstance(image, Path) else image for image in (before, after)]
    whole = [content for content in given if isinstance(content, bytes) and content.startswith(_KINDS)]
    if len(whole) == 2:
        return whole
    from idc_data.images import load_pair

    files = [io.BytesIO(), io.BytesIO()]
    for file, image in zip(files, load_pair(before, after), strict=True):
        Picture.fromarray(image).save(file, "PNG")
    return [file.getvalue() for file in files]


def _captions(reply: httpx2.Response, server: str, num: int) -> list[Caption]:
    try:
        captions = [_caption(row) for row in reply.json()["predictions"]]
        if len(captions) != num:
            raise ValueError(f"{len(captions)} answers for {num} pairs")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        message = f"the response of {server} is not captions ({error!r}); expected a model of this project"
        raise ValueError(message) from error
    return captions


def _caption(row: dict[str, Any]) -> Caption:
    # Servers of older models omit some fields.
    change_map = row.get("change_map")
    if change_map:
        with Picture.open(io.BytesIO(base64.b64decode(change_map.partition(",")[2]))) as picture:
            change_map = np.asarray(picture.convert("L"))
    others = tuple(Alternative(other["caption"], other["log_prob"]) for other in row.get("alternatives") or ())
    rest = row.get("changed"), others, change_map, row.get("note"), row.get("familiar")
    return Caption(row["caption"], row["log_prob"], *rest)


def _message(reply: httpx2.Response) -> str:
    try:
        return str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}"
