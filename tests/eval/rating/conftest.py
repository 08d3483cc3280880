import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from idc_eval import Prediction, write_predictions
from idc_eval.cli import main
from idc_eval.rating.store import Judgement, Ratings
from PIL import Image

# What people say, and what each system says. Of "lawn" both systems say the same.
PAIRS = {
    "cube": ("the red cube is missing", "the cube is gone", "a cylinder moved"),
    "lawn": ("a dog sits on the grass now", "there is a dog", "there is a dog"),
    "cars": ("two vehicles were parked by the river", "more cars", "</script><b>cars</b>"),
    "still": ("nothing has changed", "no difference", "the sky turned dark"),
    "door": ("somebody painted it green", "the door has another color", "a window"),
    "roof": ("snow covers both houses", "white roofs", "it snowed"),
}
PROGRAM = [sys.executable, "-c", "from idc_eval.cli import main; main()"]


@pytest.fixture
def pairs():
    """By pair: the reference, and what each system says."""
    return PAIRS


@pytest.fixture
def systems(tmp_path):
    """Predictions files `lstm.jsonl` and `transformer.jsonl` for six pairs with images."""
    for at, name in enumerate(PAIRS):
        Image.new("RGB", (60, 40), (40 * at, 90, 90)).save(tmp_path / f"{name}_0.png")
        Image.new("RGB", (60, 40), (90, 90, 40 * at)).save(tmp_path / f"{name}_1.png")
    files = [tmp_path / "lstm.jsonl", tmp_path / "transformer.jsonl"]
    for place, file in enumerate(files, start=1):
        write_predictions(
            file,
            [
                Prediction(
                    id=name,
                    hypothesis=said[place],
                    references=[said[0]],
                    changed=name != "still",
                    before=f"{name}_0.png",
                    after=f"{name}_1.png",
                )
                for name, said in PAIRS.items()
            ],
        )
    return files


def command(*arguments):
    """Run `idc-eval`, all in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(name="command")
def _command():
    return command


@pytest.fixture
def study(systems, tmp_path):
    """Makes a study in `ratings.db` with the options given, and returns its path."""

    def make(*options, of=systems, name="ratings.db"):
        path = tmp_path / name
        ended = command("rate", *of, "--out", path, "--html", tmp_path / "made.html", *options)
        assert ended.exit_code == 0, ended.output
        return path

    return make


@pytest.fixture
def answer():
    """Stores answers as raters give them: `answer(path, "ann", {caption: value or {question: value}})`."""

    def give(path: Path, rater: str, said: dict, *, time: int = 1_000):
        with Ratings(path) as ratings:
            for item in ratings.items.values():
                given = said.get(item.captions if len(item.captions) > 1 else item.captions[0], said.get("*"))
                if given is None:
                    continue
                values = given if isinstance(given, dict) else dict.fromkeys(ratings.questions, given)
                ratings.add(
                    Judgement(rater=rater, item=item.id, question=question, value=value, time=time)
                    for question, value in values.items()
                )

    return give


@pytest.fixture
def serve():
    """Runs `idc-eval rate` as people do, in a process of its own; gives the process and the address."""

    @contextmanager
    def running(path: Path, *options):
        arguments = ["rate", "--out", path, "--port", 0, *options]
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            address = next((found[0] for line in lines if (found := re.match(r"http://\S+/", line))), None)
            if address is None:
                raise AssertionError(process.communicate()[1])
            yield process, address
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=300)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0 and "stopped; next: idc-eval agreement" in out and not err, err

    return running


@pytest.fixture
def outcome():
    """What `idc-eval agreement --json` says."""

    def read(path, *options):
        ended = command("agreement", path, "--json", *options)
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    return read
