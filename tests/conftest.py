"""Shape annotations run in every test: jaxtyping and beartype wrap each public function of the packages."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jaxtyping import install_import_hook

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A second thread gains nothing on tensors this small, and loses much on a busy machine.
torch.set_num_threads(1)

_DATA = (
    "batch",
    "check",
    "cli",
    "example",
    "fingerprint",
    "image_colour",
    "image_structure",
    "images",
    "layout",
    "loader",
    "readers",
    "show",
    "spec",
)
install_import_hook(
    [
        # Not idc_data.scenes: numba cannot cache what is wrapped.
        *(f"idc_data.{module}" for module in (*_DATA, "tokenizer", "transforms")),
        "idc_models",
        "idc_run",
    ],
    # An int may stand where a float is annotated, as PEP 484 has it.
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


@pytest.fixture(scope="module")  # while it runs there is an event loop, in which other tests could start none
def browser() -> Iterator[Any]:
    """The system's Chromium without a window."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()
