"""A real MLflow server elsewhere: runs, artifacts and models go through it, and nothing is written beside it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from idc_run.cli import caption, run

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.mark.slow
def test_a_run_on_a_server_is_tracked_registered_repeated_and_used(registered, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home, here = tmp_path / "server", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    address = f"http://127.0.0.1:{port}"
    words = (
        f"--backend-store-uri sqlite:///{home}/db --artifacts-destination {home}/artifacts --port {port} --workers 1"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words.split()],
            cwd=home,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not healthy(address):
            assert server.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        monkeypatch.chdir(here)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        used(run, registered.spec_file, "-s", "tracking=mlflow", "-s", "register=far")
        assert {path.name for path in here.iterdir()} == {"mlruns"}
        assert {path.name for path in (here / "mlruns").iterdir()} == {"checkpoints"}
        kept = home / "artifacts"
        assert list(kept.rglob("report.html")) and list(kept.rglob("*.safetensors"))
        images = [next(kept.rglob(f"*-{side}.webp")) for side in ("before", "after")]
        assert used(caption, "models:/far@champion", *images).stdout
        run_id = next((here / "mlruns" / "checkpoints").glob("*/*")).name
        assert used(run, "--from-run", run_id, "--check").stdout.count(": the same") == 5
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def test_a_server_that_is_not_there_is_one_line_in_seconds(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = CliRunner().invoke(run, [str(registered.spec_file), "-s", "tracking=mlflow"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no MLflow server answers at MLFLOW_TRACKING_URI='http://127.0.0.1:9'")
    assert not (tmp_path / "mlruns").exists()


def used(command, *words):
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done


def healthy(address):
    try:
        with urlopen(f"{address}/health", timeout=5) as reply:
            return reply.status == 200
    except URLError:
        return False
