"""The registered model, as code: MLflow runs this file where the model is served, and no pickle is involved."""

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from idc_models.inference import PairCaptioner
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from PIL import Image, ImageOps

MAX_PIXELS = 4096 * 4096
MAX_PAIRS = 64
LIMITS = {"beam": 10, "max_length": 200}
"""What a request may set, and the most that it may set it to; the model's signature has the defaults."""


class CaptionerModel(PythonModel):
    """Captions pairs of base64-coded images; every fault of a request is answered in one sentence."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint that was logged with the model."""
        self._captioner = PairCaptioner(Path(context.artifacts["checkpoint"]))

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Caption every row of `before` and `after`; gives `{"caption", "log_prob"}` for each."""
        params = params or {}
        for name, value in params.items():
            if not 1 <= value <= LIMITS[name]:
                raise _refused(f"{name} is {value}; expected 1 to {LIMITS[name]}")
        if not 1 <= len(model_input) <= MAX_PAIRS:
            raise _refused(f"the request has {len(model_input)} pairs; expected 1 to {MAX_PAIRS}, split it up")
        pairs = [
            (_image(before, row, "before"), _image(after, row, "after"))
            for row, (before, after) in enumerate(zip(model_input["before"], model_input["after"], strict=True))
        ]
        captions = self._captioner.caption(pairs, **params)
        return [{"caption": each.caption, "log_prob": each.log_prob} for each in captions]


def _image(text: Any, row: int, side: str) -> np.ndarray:
    """Decode one image; its size is checked before its pixels are."""
    where = f"row {row}, {side!r}"
    if not isinstance(text, str):
        raise _refused(f"{where}: expected the image's bytes as base64 text, got {type(text).__name__}")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused(f"{where}: not base64 ({error}); send the image file's bytes in base64") from None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _refused(f"{where}: {image.width} x {image.height} pixels; expected at most {MAX_PIXELS}")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise _refused(f"{where}: not a whole PNG, JPEG or WebP image ({len(data)} bytes)") from None


def _refused(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


set_model(CaptionerModel())
