"""The registered model, as code: MLflow runs this file where the model is served, and no pickle is involved.

It runs there without the training packages: all that it imports of this project is idc_models, which the model carries.
"""

import base64
import io
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from idc_models.batching import Batcher, Busy
from idc_models.guard import Guard, Limits
from idc_models.images import load_image
from idc_models.inference import Caption, Decoding, Pair, PairCaptioner, enlarge
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_EXHAUSTED
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray
from PIL import Image

MAX_PIXELS = 25_000_000
MAX_PAIRS = 64
MAX_BASE64 = 40_000_000
FORMATS = ("PNG", "JPEG", "WEBP")
RANGES = {
    "beam": (1, 10),
    "max_length": (1, 200),
    "num_captions": (1, 10),
    "temperature": (0.05, 10.0),
    "seed": (0, 2**63 - 1),
}
PARAMS = {name: type(most) for name, (_, most) in RANGES.items()} | dict.fromkeys(
    ("sample", "change_map", "align"), bool
)
"""What a request may set; the model's signature has the defaults."""

_log = logging.getLogger(__name__)


class CaptionerModel(PythonModel):
    """Captions pairs of base64-coded images, together with those of other requests; faults are told in one sentence."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint that was logged with the model, and warm it up."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._captioner = PairCaptioner(Path(context.artifacts["checkpoint"]), device)
        # Not in the threads of the requests: more at a time than cores would only take memory, and each keeps some.
        self._pool = ThreadPoolExecutor(os.cpu_count())
        # Before the server gives a request up, which would leave its thread behind.
        patience = 0.8 * float(os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60"))
        self._batcher = Batcher(self._captioner.write, max_items=MAX_PAIRS, patience=patience)
        grey = np.full((64, 64, 3), 128, np.uint8)
        self._captioner.caption([(grey, grey)])
        if "mlflow.pyfunc.scoring_server.app" in sys.modules:
            _guard_server()
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # one core has the requests to read

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Caption every row of `before` and `after`; gives a record for each."""
        try:
            return self._predict(model_input, params or {})
        except MlflowException:
            raise
        except Busy as error:
            raise MlflowException(str(error), RESOURCE_EXHAUSTED) from None
        except Exception:
            _log.exception("a request failed")
            raise MlflowException("the server failed at this request; its log says why", INTERNAL_ERROR) from None

    def _predict(self, model_input: pd.DataFrame, params: dict[str, Any]) -> list[dict[str, Any]]:
        params = {name: value for name, value in params.items() if value is not None}
        for name, (low, high) in RANGES.items():
            if name in params and not low <= params[name] <= high:
                raise _refused(f"{name} is {params[name]}; expected {low} to {high}")
        if not 1 <= len(model_input) <= MAX_PAIRS:
            raise _refused(f"the request has {len(model_input)} pairs; expected 1 to {MAX_PAIRS}, split it up")
        align = params.pop("align", False)
        sides = model_input["before"], model_input["after"]
        pairs = list(self._pool.map(self._pair, count(), *sides, repeat(align)))
        decoding = Decoding(**params)
        captions = self._batcher(pairs, decoding)
        write = self._pool.map if decoding.change_map else map
        return list(write(_record, captions, [pair.shape for pair in pairs]))

    def _pair(self, row: int, before: Any, after: Any, align: bool) -> Pair:
        sides = [_image(text, f"row {row}, {side!r}") for text, side in ((before, "before"), (after, "after"))]
        try:
            return self._captioner.prepare(*sides, align=align)
        except ValueError as error:  # nothing to align with
            raise _refused(str(error)) from None


def _image(text: Any, where: str) -> NDArray[np.uint8]:
    if not isinstance(text, str):
        raise _refused(f"{where}: expected the image file's bytes as base64 text, got {type(text).__name__}")
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    if len(text) > MAX_BASE64:
        raise _refused(f"{where}: {len(text):,} characters; expected at most {MAX_BASE64:,}")
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        raise _refused(f"{where}: not base64; send the image file's bytes in base64") from None
    try:
        return load_image(content, max_pixels=MAX_PIXELS, formats=FORMATS)
    except ValueError as error:
        fault, _, cause = str(error).partition(": ")
        expected = f" ({len(content):,} bytes); expected a whole PNG, JPEG or WebP file" if cause else ""
        raise _refused(f"{where}: {fault}{expected}") from None


def _record(caption: Caption, shape: tuple[int, int]) -> dict[str, Any]:
    record = asdict(caption)
    if caption.change_map is not None:
        file = io.BytesIO()
        Image.fromarray(enlarge(caption.change_map, shape)).save(file, "PNG", compress_level=1)
        record["change_map"] = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return record


def _refused(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


def _guard_server() -> None:
    """Put a guard before MLflow's server, which is being set up; MLflow itself has no place for one."""
    guard, catch = Guard(Limits(), PARAMS), scoring_server._async_catch_mlflow_exception
    scoring_server._async_catch_mlflow_exception = lambda handler: guard(catch(handler))


set_model(CaptionerModel())
