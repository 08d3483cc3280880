"""Serving under load: the registered model against a naive one, on the same checkpoint and pairs in one run.

In `uv run benchmarks/serving.py`, 32 clients request captions for two minutes, one pair per request, each as soon as it
has its previous response; first from the naive model, then from the registered one, both behind unmodified `mlflow
models serve`. The naive model does the same work for each request separately. Every response is compared with the
checkpoint's captions without a server. CPU time is that of the server's processes per pair, the more reliable figure on
a busy machine.
"""

import argparse
import base64
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from idc_data.readers import open_reader
from idc_models.serving.inference import PairCaptioner
from PIL import Image

from idc_run.checkpoint import load_checkpoint
from idc_run.tracking.registry import checkpoint_of, packaged
from idc_run.tracking.store import quiet_mlflow

NAIVE = """
import base64
import io
from pathlib import Path

import numpy as np
from idc_models.serving.inference import PairCaptioner
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from PIL import Image


class Naive(PythonModel):
    def load_context(self, context):
        self.captioner = PairCaptioner(Path(context.artifacts["checkpoint"]))

    def predict(self, context, model_input, params=None):
        return [self.answer(*row) for row in zip(model_input["before"], model_input["after"])]

    def answer(self, *texts):
        pair = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")) for text in texts]
        (said,) = self.captioner.caption([pair])
        return {"caption": said.caption, "log_prob": said.log_prob, "changed": said.changed}


set_model(Naive())
"""


@contextmanager
def served(model: Path, workers: int) -> Iterator[tuple[int, int]]:
    """Serve a folder with `mlflow models serve`; yield the port and the id of its first process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = f"-m mlflow models serve -m {model} --env-manager local -p {port} -w {workers}"
    log = model.with_suffix(".log").open("w")
    environment = {**os.environ, "PATH": path}
    server = subprocess.Popen(
        [sys.executable, *command.split()], env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        while not healthy(port):
            if server.poll() is not None:
                raise SystemExit(Path(log.name).read_text())
            time.sleep(0.2)
        yield port, server.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def healthy(port: int) -> bool:
    """Return whether the server accepts requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def cpu(server: int) -> float:
    """Return the CPU seconds of a server's processes, which form one session (Linux)."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has exited
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == server:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Answers:
    """Results of the clients; lists, because appending is thread-safe."""

    times: list[float] = field(default_factory=list)  # seconds of every response
    wrong: list[str] = field(default_factory=list)  # captions that differ from the checkpoint's
    errors: list[str] = field(default_factory=list)  # rejections and broken connections


def load(port: int, requests: list[tuple[bytes, str]], clients: int, seconds: float) -> Answers:
    """Run clients that send one request after the other."""
    answers = Answers()
    ends = time.perf_counter() + seconds

    def client(number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            while (begun := time.perf_counter()) < ends:
                body, caption = requests[number % len(requests)]
                number += clients
                try:
                    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    answers.errors.append(repr(error))
                    connection.close()  # the next request opens a new one
                    time.sleep(0.1)
                    continue
                if answer.status != 200:
                    answers.errors.append(f"{answer.status} {content[:200]!r}")
                    continue
                answers.times.append(time.perf_counter() - begun)
                said = json.loads(content)["predictions"][0]["caption"]
                if said != caption:
                    answers.wrong.append(said)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def requests_of(checkpoint: Path, num: int) -> list[tuple[bytes, str]]:
    """Return requests of one pair, and the checkpoint's captions."""
    data = load_checkpoint(checkpoint).spec.data
    reader = open_reader({"name": "scenes", "test_pairs": num}, "test", image_size=data.image_size)
    pairs = [(example.before, example.after) for example in reader]
    captions = PairCaptioner(checkpoint).caption(pairs)
    bodies = [json.dumps({"inputs": {"before": coded(before), "after": coded(after)}}) for before, after in pairs]
    return [(body.encode(), said.caption) for body, said in zip(bodies, captions, strict=True)]


def coded(image: np.ndarray) -> str:
    """Return a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Time both models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="models:/idc@champion", help="registered model or checkpoint")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="processes of the registered model's server")
    arguments = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    found = checkpoint_of(arguments.model)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {arguments.clients} clients, {arguments.seconds:g} s"
    )
    print(f"{'':12}{'pairs/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'CPU ms/pair':>13}{'wrong':>7}{'errors':>8}")
    rates = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = shutil.copy(found, folder / "best.safetensors")
        requests = requests_of(checkpoint, 256)
        (folder / "naive.py").write_text(NAIVE)
        mlflow = quiet_mlflow()
        with packaged(checkpoint) as package:
            mlflow.pyfunc.save_model(folder / "registered", **package)
            naive = {**package, "python_model": str(folder / "naive.py"), "code_paths": None}
            mlflow.pyfunc.save_model(folder / "naive", **naive)
        for kind, workers in (("naive", 1), ("registered", arguments.workers)):
            with served(folder / kind, workers) as (port, server):
                load(port, requests, arguments.clients, min(5, arguments.seconds))
                before, begun = cpu(server), time.perf_counter()
                got = load(port, requests, arguments.clients, arguments.seconds)
                rates[kind] = len(got.times) / (time.perf_counter() - begun)
                spent = 1000 * (cpu(server) - before) / max(1, len(got.times))
            middle, most, all_but = (1000 * float(np.percentile(got.times or [np.nan], part)) for part in (50, 95, 99))
            print(
                f"{kind:12}{rates[kind]:9.1f}{middle:9.0f}{most:9.0f}{all_but:9.0f}{spent:13.2f}"
                f"{len(got.wrong):7d}{len(got.errors):8d}",
                flush=True,
            )
            for error in sorted(set(got.errors))[:3]:
                print(f"  {error}")
    print(f"{rates['registered'] / rates['naive']:.2f} times the throughput")


if __name__ == "__main__":
    main()
