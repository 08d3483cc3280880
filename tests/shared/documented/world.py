"""A copy of the checkout in which the commands of the documentation are typed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from documented.pages import BLOCKS, FIRST, OFFLINE, ROOT, SCENES, Block, entry_of, missing, plain
from documented.stand_ins import clevr, images, people, published


class World:
    """A copy of the checkout, in which commands are typed."""

    def __init__(self, root: Path) -> None:
        self.root, self.names, self.done = root, {}, set()
        self.environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            # `uv run` as it is written, but without an environment of its own for the copy.
            "UV_PROJECT": str(ROOT),
            "UV_NO_SYNC": "1",
            "VIRTUAL_ENV": sys.prefix,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nothing here needs its eight processes
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
        }

    def named(self, text: str) -> str:
        """Text with the real name of what a page can only call by a stand-in."""
        for name, real in self.names.items():
            text = re.sub(rf"(?<![\w/.]){re.escape(name)}(?!\w)", real, text)
        return text

    def start(self, command: str, folder: str = "", **options) -> subprocess.Popen:
        where = {"cwd": self.root / folder, "env": self.environment, "start_new_session": True}
        return subprocess.Popen(["bash", "-euo", "pipefail", "-c", self.named(command)], text=True, **where, **options)

    def run(self, command: str, folder: str = "") -> str:
        """What the command prints; it has to succeed."""
        with self.start(command, folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                said = process.communicate(timeout=400)[0]
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, f"{command}\nexit code {process.returncode}:\n{said}"
        return said

    def once(self, command: str, folder: str = "", serves: str = "") -> None:
        """Type the command, unless it was typed before: pages repeat commands."""
        same = command.removeprefix("uv run ")
        if same in self.done:
            return
        self.done.add(same)
        if serves:
            with self.serving(command, serves):
                pass
        else:
            self.run(command, folder)

    @contextmanager
    def serving(self, command: str, path: str) -> Iterator[str]:
        """The address of a server, once it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryFile("w+") as log:
            process = self.start(command.replace("PORT", str(port)), stdout=log, stderr=log)
            try:
                deadline = time.monotonic() + 180
                while not _answers(f"http://127.0.0.1:{port}{path}"):
                    if process.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise AssertionError(f"{command}\n{log.read()}")
                    time.sleep(0.2)
                yield f"http://127.0.0.1:{port}"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def build(root: Path) -> World:
    """Copy the checkout, train and register a model, and leave what else the pages speak of."""
    shutil.copytree(ROOT, root, ignore=_left_out)
    (root / "mlruns").mkdir()
    made = World(root)
    made.once(f"idc-run experiments/transformer_concat.yaml {FIRST}{SCENES}")
    (tested,), (best,) = (
        root.glob(f"mlruns/{path}") for path in ("artifacts/**/predictions.jsonl", "checkpoints/**/best.safetensors")
    )
    shutil.copy(best, root)
    for folder in ("seed1", "seed2", "seed3", "."):
        shutil.copytree(tested.parent, root / folder, dirs_exist_ok=True)
    for system in ("lstm", "transformer"):
        shutil.copy(tested, root / f"{system}.jsonl")
    made.names |= dict.fromkeys(("RUN", "OTHER_RUN", "RUN_ID"), re.findall(r"[0-9a-f]{32}", str(tested))[0])
    made.names["idc-champion idc 7"] = "idc-champion idc 1"
    made.run("idc-data scenes path/to/folder --num 12")
    images(root)
    clevr(root / "path/to/data")
    clevr(root / "downloads/data")
    published(root)
    for block in BLOCKS:
        if file := re.match(r"# (\w+\.py)\n", block.text):
            (root / file[1]).write_text(block.text)
    made.once(f"idc-data generate experiments/generate/photos.yaml -s collect.root=path/to/photos {OFFLINE}")
    people(made.root, made.run)
    return made


def _left_out(folder: str, names: list[str]) -> set[str]:
    top = {".git", ".venv", "mlruns", "mlflow.db", "data", "weights", "site"} if Path(folder) == ROOT else set()
    return {name for name in names if name in top or "cache" in name}


def do(block: Block, world: World) -> None:
    """Type what the block says."""
    if block.language != "bash":
        if missing(block.text):
            pytest.skip(f"needs {missing(block.text)}")
        if block.language == "js" and shutil.which("node") is None:
            pytest.skip("no Node on the PATH")
        name, program = ("snippet.py", "python") if block.language == "python" else ("snippet.mjs", "node")
        folder = "examples/clients" if "idc_client" in block.text else ""
        # One goes on from those before it on its page.
        said = [each.text for each in BLOCKS if each[0] == block.page and each.language == block.language]
        said = [text for text in said[: said.index(block.text) + 1] if not missing(text)]
        (world.root / folder / name).write_text(world.named("\n".join(said)))
        world.run(f"{program} {name}", folder)
        return
    for command in block.commands():
        if not missing(command):
            entry = entry_of(command)
            world.once(f"{plain(command)} {entry.append}".strip(), entry.folder, entry.serves)
