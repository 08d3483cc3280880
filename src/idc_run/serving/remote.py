"""A model that is served elsewhere, used as if it were here."""

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

_AGAIN = (429, 502, 503, 504)  # busy, or being started again
PATIENCE = 60  # seconds in which it is asked anew: a server takes up to 20 to start
_MOST_PAIRS = 16
_MOST_BYTES = 16_000_000  # of the images of a request
_KINDS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")  # how files begin that every server takes

_log = logging.getLogger(__name__)


class RemoteCaptioner:
    """Captions pairs at the REST endpoint of a served model; made like `PairCaptioner`.

    Args:
        address: Such as http://127.0.0.1:5001.
        timeout: Seconds to wait for one answer.

    The variable IDC_TOKEN, if set, is sent as a bearer token.

    Raises:
        ValueError: It is no address.
    """

    def __init__(self, address: str, timeout: float = 120) -> None:
        self._address = read_address(address)
        self._options = self._address.client()
        self._timeout = httpx2.Timeout(timeout, connect=5)

    def caption(self, pairs: Sequence[tuple[Image, Image]], **params: Any) -> list[Caption]:
        """Caption pairs, in as many requests as it takes.

        Args:
            pairs: Before and after images, of any size.
            **params: As `PairCaptioner.caption` takes them; None is what the server has by default.

        Raises:
            ValueError: The server refuses a pair or a parameter.
            ConnectionError: It cannot be reached, or stays busy.
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
                    message = f"the certificate of {server} is not trusted: let SSL_CERT_FILE name a file that has it"
                    raise ValueError(message) from error
                trouble = f"no answer from {server} ({error}); is the model served?"
            else:
                if reply.status_code == 200:
                    return _captions(reply, server, len(pairs))
                if reply.status_code in (401, 403):
                    raise ValueError(
                        f"{server} refuses ({reply.status_code}): let the variable {TOKEN} hold its token, or give a "
                        "login as http://user:password@host"
                    )
                if reply.status_code not in _AGAIN:
                    raise ValueError(f"{server} refuses: {_message(reply)}")
                trouble = f"{server} stays busy: {_message(reply)}"
            if time.monotonic() + wait > give_up:
                raise ConnectionError(trouble)
            if wait == 2:  # a moment is nothing to speak of
                _log.warning("%s Asking again for %d s", trouble, PATIENCE)
            time.sleep(wait * random.uniform(0.5, 1))  # not all clients at once
            wait = min(2 * wait, 5)


def _contents(before: Image, after: Image) -> list[bytes]:
    """The bytes of two files as they are, if every server knows their formats, else of PNG files."""
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
        message = f"{server} answers with something else than captions ({error!r}); expected a model of this project"
        raise ValueError(message) from error
    return captions


def _caption(row: dict[str, Any]) -> Caption:
    # The servers of older models tell less.
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
