"""Every command and Python snippet of the documentation, run as it is written there.

`pytest tests/run/test_documented.py -q -s -n 0 -k list` prints what is done with each. A block is run command by
command, in a copy of the checkout with stand-ins of the names that the documentation uses (before.png, path/to/folder,
...). What TABLE does not mention is run as it is and has to succeed. What a comment in the block says to need (`# needs
the internet`, a GPU, Docker, other machines) is parsed only: its programs exist and have these options.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import click
import numpy as np
import pytest
from idc_eval.rating.store import Ratings
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "mlruns/README.md"]
PAGES += [*sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("examples/**/README.md"))]

SCENES = " -s 'data.dataset={name: scenes, train_pairs: 32, val_pairs: 8, test_pairs: 8}'"
OTHERS = r"(uv (run|pip|sync|venv)|python3.11 -m venv|mlflow|sh|export|docker|mkdir|for|\{ printf) "
SHORT = "-s train.epochs=1 -s data.batch_size=8 -s train.schedule.warmup_steps=1"
OFFLINE = (
    "-s pair.embedding=thumbnail -s pair.low=0.5 -s difference=rules -s 'caption={name: given, file: captions.json}'"
)


class Entry(NamedTuple):
    """What is done with commands that begin so."""

    start: str
    append: str = ""
    """Shortens it."""
    serves: str = ""
    """It is a server: it has to answer here."""
    folder: str = ""
    """Where it is typed; elsewhere than in the root."""


TABLE = [
    Entry("uv run idc-run experiments/own_pairs.yaml -s data.dataset=path/to/folder --check"),
    Entry("uv run idc-run experiments/own_pairs.yaml", "-s train.epochs=2"),
    Entry("uv run idc-run experiments/fine_tune.yaml -s data.dataset=path/to/folder --check"),
    Entry("uv run idc-run experiments/fine_tune.yaml", "-s train.epochs=2"),
    Entry("uv run idc-models check scorer:", folder="examples/plugins"),
    Entry("uv run idc-models check causal_lm:", folder="examples/plugins"),
    Entry("uv run idc-models check cbr:", folder="examples/plugins"),
    Entry("uv run torchrun", f"{SHORT}{SCENES}"),
    Entry("uv run pytest", "tests/data/test_layout.py -q -p no:cacheprovider"),
    Entry("uv run idc-run experiments/transformer_concat.yaml", f"{SHORT}{SCENES}"),
    Entry("uv run idc-run experiments/generated.yaml", f"{SHORT} -s model.encoder.pretrained=false"),
    Entry("uv run idc-run experiments/fusion_by_decoder.yaml", f"{SHORT}{SCENES}"),
    Entry("idc-run experiments/fusion_by_decoder.yaml", SHORT + SCENES + " -s 'sweep.space={seed: [1, 2]}'"),
    Entry("uv run --with ./examples/idc-decoder-bow idc-run", f"{SHORT}{SCENES}"),
    Entry("uv run mlflow ui", "--port PORT", serves="/health"),
    Entry("uv run mlflow models serve", "-p PORT", serves="/health"),
    Entry("uv run idc-app", "--port PORT", serves="/health"),
    Entry("idc-app", "--port PORT", serves="/health"),
    Entry("idc-eval rate lstm.jsonl transformer.jsonl --num", "--port PORT", serves="/"),
    Entry("idc-data scenes data/scenes --num 1000", "--num 10"),
    Entry("uv run idc-data generate", OFFLINE),
    Entry("idc-data generate", OFFLINE),
    Entry("uv sync", "--dry-run"),
    Entry("uv pip install", "--dry-run"),
    Entry("seq 4 | xargs -P 4 -I{} idc-run", f"{SHORT}{SCENES} -s 'sweep.space={{seed: [1, 2]}}'"),
    Entry("idc-table fusion-by-decoder", "--out tables"),  # docs/results has the whole study
    Entry("sh caption.sh", folder="examples/clients"),
]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def commands(self) -> list[str]:
        """The commands of a shell block, each with its comment."""
        commands, command = [], ""
        for line in self.text.splitlines():
            command += line + "\n"
            whole = not line.endswith("\\")
            if whole and command.startswith("{"):
                whole = subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
            if whole:
                commands.append(command.strip())
                command = ""
        if commands[0].startswith("# needs "):  # all of them do
            commands = [f"{command}  {commands[0]}" for command in commands]
        return [command for command in commands if command and not command.startswith("#")]


def blocks() -> Iterator[Block]:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"^( *)```(bash|python|js)\n(.*?)^ *```$", text, re.M | re.S):
            line = text.count("\n", 0, found.start()) + 2
            yield Block(str(path.relative_to(ROOT)), line, found[2], textwrap.dedent(found[3]))
    for path in ROOT.glob("examples/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        yield Block(str(path.relative_to(ROOT)), 1, "python", text)


BLOCKS = list(blocks())
every = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")


def missing(text: str) -> str:
    """What a comment says to need that is not to be had here."""
    found = re.search(r"#.*?\bneeds (the internet|a GPU|several GPUs|Docker|other machines)", text)
    return found[1] if found else ""


def plain(command: str) -> str:
    """A command without its comment."""
    return re.sub(r"\s+# .*$", "", command, flags=re.M)


def entry_of(command: str) -> Entry:
    return next((entry for entry in TABLE if command.startswith(entry.start)), Entry(command))


def test_list_what_is_done():
    """Print it; `-s` shows it."""
    used = set()
    for block in BLOCKS:
        print(f"\n{block.page}:{block.line}")
        if block.language != "bash":
            print(f"  {'compiled' if missing(block.text) else 'run':10} {block.language}")
            continue
        for command in block.commands():
            entry = entry_of(command)
            used.add(entry)
            done = "parsed" if missing(command) else "served" if entry.serves else "run"
            short = f"   + {entry.append}" if entry.append and done != "parsed" else ""
            print(f"  {done:10} {' '.join(plain(command).split())}{short}")
    assert not set(TABLE) - used, "no page has these commands any more"


@every
def test_programs_and_options_exist(block):
    if block.language == "python":
        compile(block.text, block.page, "exec")
    if block.language != "bash":
        return
    ours = {entry.name: entry for entry in entry_points(group="console_scripts")}
    for command in block.commands():
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command
        words = shlex.split(plain(command).replace("`", " ").replace(";", " "))
        program = next((word for word in words if word.startswith("idc-")), None)
        if program is None:
            assert re.match(OTHERS, command), f"{block.page}: {command!r}: neither ours nor one that is known here"
            continue
        group, rest = ours[program].load(), words[words.index(program) + 1 :]
        while isinstance(group, click.Group):
            group, rest = group.commands[rest[0]], rest[1:]
        options = {name for option in group.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert not given - options, f"{block.page}: {command}"


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


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The copy, with a registered model that is served, and with what else the pages speak of."""
    made = build(tmp_path_factory.mktemp("documented") / "checkout")
    with made.serving("mlflow models serve -m models:/idc@champion --env-manager local -p PORT", "/health") as address:
        made.names["http://127.0.0.1:5001"] = address
        yield made


def build(root: Path) -> World:
    shutil.copytree(ROOT, root, ignore=_left_out)
    (root / "mlruns").mkdir()
    made = World(root)
    made.run(f"idc-run experiments/transformer_concat.yaml {SHORT}{SCENES}")
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
    _images(root)
    _clevr(root / "path/to/data")
    _clevr(root / "downloads/data")
    for block in BLOCKS:
        if file := re.match(r"# (\w+\.py)\n", block.text):
            (root / file[1]).write_text(block.text)
    made.run(f"idc-data generate experiments/generate/photos.yaml -s collect.root=path/to/photos {OFFLINE}")
    _people(made)
    return made


def _left_out(folder: str, names: list[str]) -> set[str]:
    top = {".git", ".venv", "mlruns", "mlflow.db", "data", "weights", "site"} if Path(folder) == ROOT else set()
    return {name for name in names if name in top or "cache" in name}


def _images(root: Path) -> None:
    """Single pairs, folders of pairs, a list of pairs, and photos with captions."""
    pairs = sorted((root / "path/to/folder/val").glob("*_before.*"))[:2]
    for number, before in enumerate(pairs, 1):
        for side, folder in (("before", "monday"), ("after", "tuesday")):
            image = Image.open(before.with_name(before.name.replace("before", side)))
            (root / folder).mkdir(exist_ok=True)
            for path in (f"{side}.png", f"{side}.jpg", f"{folder}/{number}.png", f"examples/clients/{side}.png"):
                image.convert("RGB").resize((320, 320)).save(root / path)
    for number, name in enumerate("abcd"):
        shutil.copy(root / f"{('before', 'after')[number // 2]}.png", root / f"{name}.png")
    (root / "pairs.jsonl").write_text('{"before": "before.png", "after": "after.png", "id": 7}\n')
    rng, photos, said = np.random.default_rng(0), root / "path/to/photos", {}
    photos.mkdir(parents=True)
    captions = ("a brown dog on a sofa", "a red ball on the grass", "two cats next to a car") * 4
    for group, caption in enumerate(captions):  # no image is in two splits, so a split takes a group
        scene = rng.integers(0, 256, (8, 8, 3))
        for index in range(3):
            noisy = np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).resize((64, 64), Image.Resampling.BILINEAR).save(photos / f"{group}_{index}.png")
            said[f"{group}_{index}.png"] = f"{caption} and a hat" if index == 1 else caption
    (root / "captions.json").write_text(json.dumps(said))


def _clevr(root: Path) -> None:
    """Scenes in the published layout of CLEVR-Change."""
    names = [f"CLEVR_default_{scene:06d}.png" for scene in range(24)]
    kinds = (("images", "default"), ("sc_images", "semantic"), ("nsc_images", "nonsemantic"))
    for light, (folder, kind) in enumerate(kinds):
        (root / folder).mkdir(parents=True)
        for scene, name in enumerate(names):
            Image.new("RGB", (48, 36), (9 * scene, 90, 60 * light)).save(root / folder / name.replace("default", kind))
    contents = {
        "change_captions": {name: [f"the cube number {name[14:20]} moved", "the cube moved"] for name in names},
        "no_change_captions": {name: ["no change was made", "nothing has changed"] for name in names},
        "splits": {"train": [*range(12)], "val": [*range(12, 18)], "test": [*range(18, 24)]},
    }
    for name, content in contents.items():
        (root / f"{name}.json").write_text(json.dumps(content))


def _people(world: World) -> None:
    """A study, and what its raters and those who audit a dataset have saved."""
    world.run("idc-eval rate lstm.jsonl transformer.jsonl --num 50 --html made.html")
    with Ratings(world.root / "ratings.db") as ratings:
        for rater in ("ann", "ben"):
            judgements = [
                {"rater": rater, "item": item, "question": question, "value": 1 + index % 5, "time": 1}
                for index, item in enumerate(ratings.items)
                for question in ratings.questions
            ]
            saved = {"study": ratings.settings.study, "judgements": judgements}
            (world.root / f"ratings_{rater}.json").write_text(json.dumps(saved))
    world.run("idc-eval rate --import ratings_ann.json --import ratings_ben.json")
    line = next(iter(next(world.root.glob("data/photos/*/metadata.jsonl")).read_text().splitlines()))
    pair = json.loads(line)
    saved = {pair["id"]: {"verdict": "accept", "written": pair["references"]}}
    (world.root / "photos_audit.json").write_text(json.dumps(saved))


@every
@pytest.mark.slow
@pytest.mark.timeout(1800)  # what the first one waits for included
def test_it_works_as_documented(block, world):
    if block.language != "bash" and missing(block.text):
        pytest.skip(f"needs {missing(block.text)}")
    if block.language == "js" and shutil.which("node") is None:
        pytest.skip("no Node on the PATH")
    do(block, world)


def do(block: Block, world: World) -> None:
    if block.language != "bash":
        name, program = ("snippet.py", "python") if block.language == "python" else ("snippet.mjs", "node")
        folder = "examples/clients" if "idc_client" in block.text else ""
        # One goes on from those before it on its page.
        said = [each.text for each in BLOCKS if each[0] == block.page and each.language == block.language]
        said = [text for text in said[: said.index(block.text) + 1] if not missing(text)]
        (world.root / folder / name).write_text(world.named("\n".join(said)))
        world.run(f"{program} {name}", folder)
        return
    for command in block.commands():
        entry = entry_of(command)
        line = f"{plain(command)} {entry.append}"
        same = line.removeprefix("uv run ")  # pages repeat commands
        if missing(command) or same in world.done:
            continue
        world.done.add(same)
        if entry.serves:
            with world.serving(line, entry.serves):
                pass
        else:
            world.run(line, entry.folder)
