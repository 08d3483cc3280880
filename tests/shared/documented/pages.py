"""The blocks of the documentation, and what is done with their commands."""

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "mlruns/README.md"]
PAGES += [*sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("examples/**/README.md"))]
MAKING = ("docs/sweeps.md", "docs/fine-tuning.md", "docs/generate.md", "docs/install.md", "docs/honest.md")

SCENES = " -s 'data.dataset={name: scenes, train_pairs: 32, val_pairs: 8, test_pairs: 8}'"
OTHERS = r"(uv (run|pip|sync|venv)|python3.11 -m venv|mlflow|sh|export|docker|mkdir|for|\{ printf) "
FIRST = "-s train.epochs=1 -s data.batch_size=8 -s train.schedule.warmup_steps=1"
SHORT = f"{FIRST} -s data.workers=0"  # two processes less to start
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
    Entry("uv run idc-run experiments/transformer_concat.yaml -s", f"{SHORT}{SCENES}"),
    Entry("uv run idc-run experiments/transformer_concat.yaml", f"{FIRST}{SCENES}"),
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
#: Half of the work is in the pages on training and making data; a second process types the others meanwhile.
TRAINING = [block for block in BLOCKS if block.page in MAKING]
USING = [block for block in BLOCKS if block.page not in MAKING]


def each(of: list[Block]) -> pytest.MarkDecorator:
    """Mark a test to run with each of these blocks."""
    return pytest.mark.parametrize("block", of, ids=lambda block: f"{block.page}:{block.line}")


def missing(text: str) -> str:
    """What a comment says to need that is not to be had here."""
    found = re.search(r"#.*?\bneeds (the internet|a GPU|several GPUs|Docker|other machines|the renders)", text)
    return found[1] if found else ""


def plain(command: str) -> str:
    """A command without its comment."""
    return re.sub(r"\s+# .*$", "", command, flags=re.M)


def entry_of(command: str) -> Entry:
    return next((entry for entry in TABLE if command.startswith(entry.start)), Entry(command))
