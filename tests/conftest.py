"""Shape annotations run in every test: jaxtyping and beartype wrap each public function of the packages."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import install_import_hook

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# What is compiled once is read by the many processes that the tests start: half of what they cost, else.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A job in the background of a shell ignores Ctrl-C, and would hand that on. This process goes on ignoring it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda number, frame: None)
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
        *(f"idc_data.{module}" for module in (*_DATA, "tokenizers", "transforms")),
        "idc_models",
        "idc_run",
    ],
    # An int may stand where a float is annotated, as PEP 484 has it.
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer as that of GPT-2: byte pairs, one token for begin and end, none for padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(["the large red cube moved, and the ball is gone"] * 9, trainer)
    folder = tmp_path_factory.mktemp("gpt2")
    inner.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


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
