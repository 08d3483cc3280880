"""A tiny experiment, as a YAML file that the tests override."""

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import torch
from idc_data.readers import open_reader

from idc_run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.training import experiment

# mlflow imports a backport of importlib.metadata that takes over from it in the whole process, and whose entry points
# are of another class than idc_models.registry says. The types are checked here, so the original stays.
sys.modules.setdefault("importlib_metadata", importlib.metadata)

TINY = """\
name: tiny
seed: 3
data:
  dataset: {name: scenes, train_pairs: 16, val_pairs: 6, test_pairs: 4}
  image_size: 32
  batch_size: 4
  workers: 0
model:
  encoder: {name: cnn, widths: [8, 8]}
  fusion: {name: concat, dim: 16}
  decoder: {name: transformer, dim: 16, layers: 1, heads: 2, dropout: 0.2}
train:
  epochs: 2
  optimizer: {lr: 1e-2}
  schedule: {warmup_steps: 2}
  device: cpu
  threads: 1
  log_every: 2
eval:
  metrics: [bleu, rouge-l, cider, false_alarm_rate]
tracking: off
"""

# Of the weights that the tests' model speaks with, and how readily it ends a sentence.
SEED, SENTENCE = 3, 2.0


def speaking(fit):
    """Wrap `fit`: the best checkpoint gets weights that speak; what a tiny training learns hangs on the processor."""

    def wrapped(*arguments, folder, **keywords):
        progress = fit(*arguments, folder=folder, **keywords)
        path = folder / "best.safetensors"
        save_checkpoint(path, made_to_speak(load_checkpoint(path)))
        return progress

    return wrapped


def made_to_speak(checkpoint: Checkpoint) -> Checkpoint:
    """Give the checkpoint weights with which captions hang on the images.

    What training moved stays in the encoder and in the fusion. The fusion's batch norm is fitted to scenes, so that
    cells and images are told apart; the decoder attends to one cell and reads it aloud with large weights, drawn with a
    seed. The gaps between the likeliest words are then far larger than what processors differ by.
    """
    model = checkpoint.build().train()
    generator = torch.Generator().manual_seed(SEED + checkpoint.spec.seed)
    scenes = open_reader({"name": "scenes", "val_pairs": 32}, "val", image_size=checkpoint.spec.data.image_size)
    sides = [torch.stack([torch.from_numpy(getattr(pair, side)).permute(2, 0, 1) for pair in scenes])
             for side in ("before", "after")]  # fmt: skip
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
                module.reset_running_stats()
        model.fuse(*sides)
        for name, weight in model.decoder.named_parameters():
            if weight.ndim == 2:
                gain = 4.0 if "query" in name or name == "output.weight" else 0.4 if "embedding" in name else 1.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * gain * weight.shape[1] ** -0.5)
        model.decoder.output.bias[checkpoint.tokenizer.eos_id] += (
            SENTENCE * model.decoder.output.weight.norm(dim=1).mean()
        )
    return replace(checkpoint, weights={name: value.clone() for name, value in model.state_dict().items()})


@dataclass(frozen=True)
class Registered:
    """A run that was tracked and registered, and the folder with its `mlruns`."""

    folder: Path
    spec_file: Path
    result: experiment.Result


@pytest.fixture(scope="session")
def tiny_text():
    """The tiny spec, for fixtures of several tests."""
    return TINY


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The spec file `tiny.yaml`, in an otherwise empty working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def spec(tiny):
    """Gives the tiny spec with overrides."""
    return lambda *overrides: load_spec(tiny, overrides)


@pytest.fixture(scope="session")
def registered(tmp_path_factory):
    """One tracked and registered run for all tests, whose model speaks: MLflow takes seconds to set its database up."""
    folder = tmp_path_factory.mktemp("registered")
    (folder / "mlruns").mkdir()
    spec_file = folder / "tiny.yaml"
    spec_file.write_text(TINY)
    with pytest.MonkeyPatch.context() as patch, _without_address():
        patch.chdir(folder)
        patch.setattr(experiment, "fit", speaking(experiment.fit))
        result = experiment.run(load_spec(spec_file, ["tracking=mlflow", "register=idc"]), Console(quiet=True))
    assert result
    return Registered(folder, spec_file, result)


@pytest.fixture
def speaks(monkeypatch):
    """A training leaves a model that speaks, as that of the registered run."""
    monkeypatch.setattr(experiment, "fit", speaking(experiment.fit))


@pytest.fixture(autouse=True)
def _own_store():
    """MLflow leaves the address of the store that it was told of in the environment, where the next test finds it."""
    with _without_address():
        yield


@contextmanager
def _without_address():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")  # so that what was there before, or nothing, comes back
        patch.delenv("MLFLOW_TRACKING_URI")
        yield


@dataclass(frozen=True)
class Served:
    """A server: the MLflow server itself, or a model that it serves."""

    address: str
    pid: int

    def post(self, body: object, kind: str = "application/json") -> tuple[int, Any]:
        """Status and reply; a reply that tells of a fault as text."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urlopen(Request(f"{self.address}/invocations", data, {"Content-Type": kind}), timeout=600) as reply:
                return reply.status, json.load(reply)
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="session")
def serving():
    """Gives a context manager that runs an mlflow command, as a user types it, while it answers /health."""
    return _serving


@contextmanager
def _serving(command, folder, port=None):
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # nothing here needs its eight processes
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for again in (True, False):
        number = _free_port() if port is None else port
        with tempfile.TemporaryFile("w+") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *command.split(), "--port", str(number)],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                deadline = time.monotonic() + 600
                while server.poll() is None and time.monotonic() < deadline:
                    if _healthy(f"http://127.0.0.1:{number}"):
                        yield Served(f"http://127.0.0.1:{number}", server.pid)
                        return
                    time.sleep(0.2)
                log.seek(0)
                said = log.read()
                # Seconds pass before the port is taken, and another server may have got it.
                if not again or "address already in use" not in said:
                    raise AssertionError(said)
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, 15)
                server.wait()


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _healthy(address):
    try:
        with urlopen(f"{address}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:  # refused, or nothing read in five seconds on a busy machine
        return False


@pytest.fixture(scope="session")
def served(registered):
    """The registered model, served."""
    with _serving("models serve -m models:/idc@champion --env-manager local", registered.folder) as server:
        yield server


@pytest.fixture(scope="session")
def app_address(registered):
    """The page of the registered model, as a user starts it."""
    command = [Path(sys.executable).with_name("idc-app"), registered.result.checkpoint, "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, cwd=registered.folder, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            address = server.stdout.readline().partition("  ")[0]
            if not address.startswith("http://127.0.0.1:"):
                log.seek(0)
                raise AssertionError(log.read())
            yield address
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()
