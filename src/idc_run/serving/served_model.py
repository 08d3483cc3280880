"""The registered model as code: MLflow runs this file where the model is served, without a pickle.

The training packages are not needed there: of this project, it imports only idc_models and the image reader of
idc_data, which the model carries.
"""

import base64
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from idc_data.images import pixels_in, read_pixels
from idc_models.memory import return_large_blocks
from idc_models.serving.batching import Batcher, Busy
from idc_models.serving.guard import Guard, Limits, deadline
from idc_models.serving.inference import Caption, Pair, PairCaptioner, enlarge
from idc_models.serving.settings import KINDS, Decoding
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_EXHAUSTED
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray
from PIL import Image

MAX_PIXELS = 25_000_000
MAX_REQUEST_PIXELS = 500_000_000
LARGE = 4_000_000
LARGE_AT_A_TIME = 4
"""Maximum number of images above LARGE pixels that are decoded at a time, over all requests."""
MAX_PAIRS = 64
MAX_BASE64 = 40_000_000
FORMATS = ("PNG", "JPEG", "WEBP")

_large = threading.BoundedSemaphore(LARGE_AT_A_TIME)
_log = logging.getLogger(__name__)
_BASE64 = str.maketrans("-_", "+/", "\r\n")
"""Removes line breaks, and converts the URL-safe alphabet (RFC 4648, section 5) to the standard one."""
_NULLS = ("", "None", "nan", "null")
"""How pandas and MLflow represent null, which may depend on the other rows."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Room:
    """The remaining time and pixels of a request."""

    def __init__(self) -> None:
        self._deadline, self._pixels, self._lock = deadline.get(), MAX_REQUEST_PIXELS, threading.Lock()

    def seconds(self) -> float | None:
        """Return the time until the deadline; None if there is none."""
        if self._deadline is None:
            return None
        if (left := self._deadline - time.monotonic()) <= 0:
            raise Busy("the request took too long; retry later, or send fewer pairs")
        return left

    @contextmanager
    def turn(self, content: bytes) -> Iterator[None]:
        """Wait until few other large images are being decoded, because each takes 0.3 GB."""
        if pixels_in(content) < LARGE:
            yield
            return
        if not _large.acquire(timeout=self.seconds()):
            raise Busy("too many large images are being decoded; retry later, or send smaller images")
        try:
            yield
        finally:
            _large.release()

    def decoded(self, image: NDArray[Any]) -> None:
        """Count the pixels of a decoded image."""
        with self._lock:
            self._pixels -= image.shape[0] * image.shape[1]
            if self._pixels < 0:
                raise _refused(
                    f"the images have more than {MAX_REQUEST_PIXELS:,} pixels in total; send fewer pairs at a time"
                )


class CaptionerModel(PythonModel):
    """Captions pairs of base64-encoded images, batched with other requests; errors are one sentence."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model's checkpoint, and warm up."""
        self.load(Path(context.artifacts["checkpoint"]))

    def load(self, checkpoint: Path) -> None:
        """Load a checkpoint, and warm up."""
        return_large_blocks()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._captioner = PairCaptioner(checkpoint, device)
        # A pool of its own instead of the request threads: more threads than cores would only cost memory.
        self._threads = _cores()
        self._pool = ThreadPoolExecutor(self._threads)
        self._batcher = Batcher(self._captioner.write, max_items=MAX_PAIRS)
        grey = np.full((64, 64, 3), 128, np.uint8)
        self._captioner.caption([(grey, grey)])
        if "mlflow.pyfunc.scoring_server.app" in sys.modules:
            _guard_server()
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # one core is left for reading requests

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: PythonModelContext | None, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Caption every row of `before` and `after`; return a record for each."""
        try:
            return self._predict(model_input, params or {})
        except MlflowException:
            raise
        except Busy as error:
            raise MlflowException(str(error), RESOURCE_EXHAUSTED) from None
        except Exception:
            _log.exception("a request failed")
            raise MlflowException(
                "an internal error occurred; the server's log has the details", INTERNAL_ERROR
            ) from None

    def _predict(self, model_input: pd.DataFrame, params: dict[str, Any]) -> list[dict[str, Any]]:
        params = {name: value for name, value in params.items() if value is not None}
        if not 1 <= len(model_input) <= MAX_PAIRS:
            raise _refused(f"the request has {len(model_input)} pairs; expected 1 to {MAX_PAIRS}; split the request")
        align = params.pop("align", False)
        try:
            decoding = Decoding(**params)
        except ValueError as error:
            raise _refused(str(error)) from None
        room = _Room()
        rows = list(zip(count(), model_input["before"], model_input["after"], strict=False))
        pairs = self._share(lambda row: self._pair(*row, align, room), rows)
        captions = self._batcher(pairs, decoding, room.seconds())
        answers = list(zip(captions, pairs, strict=True))
        if decoding.change_map:
            return self._share(lambda answer: _record(*answer, room), answers)
        return [_record(*answer, room) for answer in answers]

    def _share(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Map items in small parts, so that a large request does not block others."""
        parts = (items[start : start + self._threads] for start in range(0, len(items), self._threads))
        return [result for part in parts for result in self._pool.map(work, part)]

    def _pair(self, row: int, before: Any, after: Any, align: bool, room: _Room) -> Pair:
        sides = [_image(text, f"row {row}, {side!r}", room) for text, side in ((before, "before"), (after, "after"))]
        room.seconds()
        try:
            return self._captioner.prepare(*sides, align=align)
        except ValueError as error:  # OpenCV is not installed
            raise _refused(str(error)) from None


def _image(text: Any, where: str, room: _Room) -> NDArray[Any]:
    if str(text) in _NULLS:
        raise _refused(f"{where}: the image is missing; expected the image file's bytes as base64 text")
    if not isinstance(text, str):
        raise _refused(f"{where}: expected the image file's bytes as base64 text, got {type(text).__name__}")
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    if len(text) > MAX_BASE64:
        raise _refused(f"{where}: {len(text):,} characters; expected at most {MAX_BASE64:,}")
    # Accept wrapped lines and the URL-safe alphabet.
    text = text.translate(_BASE64).rstrip("=")
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise _refused(f"{where}: not base64; send the image file's bytes in base64") from None
    room.seconds()
    try:
        with room.turn(content):
            image = read_pixels(content, max_pixels=MAX_PIXELS, formats=FORMATS)
    except ValueError as error:
        fault, _, cause = str(error).partition(": ")
        expected = f" ({len(content):,} bytes); expected a complete PNG, JPEG or WebP file" if cause else ""
        raise _refused(f"{where}: {fault}{expected}") from None
    room.decoded(image)
    return image


def _record(caption: Caption, pair: Pair, room: _Room) -> dict[str, Any]:
    record = asdict(caption)
    if caption.change_map is not None:
        room.seconds()
        file = io.BytesIO()
        Image.fromarray(enlarge(caption.change_map, pair.shape)).save(file, "PNG", compress_level=1)
        record["change_map"] = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return record


def _refused(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _guard_server() -> None:
    """Install a guard in MLflow's server, for which MLflow has no interface."""
    # Before MLflow's own timeout, whose response is not JSON and which leaves the work running.
    seconds = 0.9 * float(os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60"))
    guard, catch = (
        Guard(Limits(reading=seconds / 2, seconds=seconds), KINDS),
        scoring_server._async_catch_mlflow_exception,
    )
    scoring_server._async_catch_mlflow_exception = lambda handler: guard(catch(handler))


set_model(CaptionerModel())
