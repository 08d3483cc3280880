import subprocess
import sys

import pytest
from click.testing import CliRunner
from idc_data import Folder, write_layout
from idc_data.cli import main
from PIL import Image


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


def test_help_is_fast():
    program = (
        "import sys, idc_data.cli; sys.exit(any(name in sys.modules for name in ('torch', 'numba', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("command", ["scenes", "import", "check", "export", "show"])
def test_every_command_explains_itself_with_an_example(run, command):
    assert f"\n    idc-data {command} " in run(command, "--help").output


def test_scenes_to_picture(run, tmp_path):
    made = run("scenes", "out", "--num", 3, "--split", "train", "--split", "test", "--size", 32, "--seed", 4)
    assert (made.exit_code, made.stdout) == (0, "out: 3 pairs in train, 3 pairs in test\n")
    assert Folder("test", root=tmp_path / "out")[0].provenance["seed"] == 4
    assert run("check", "out").exit_code == 0
    shown = run("show", "out", "--split", "test", "--num", 2)
    assert (shown.exit_code, shown.stdout) == (0, "out_test.png\n")
    with Image.open("out_test.png") as sheet:
        assert sheet.width > 400


def test_check_fails_on_problems(run, tmp_path, make_example):
    write_layout(tmp_path / "set", [make_example(0, change_type="none")])
    checked = run("check", "set")
    assert checked.exit_code == 1
    assert "set/train/metadata.jsonl:1: error: changed is True" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes", "set", "--num", 2], "already exists"),
        (["scenes", "new", "--num", 0], "--num"),
        (["scenes", "new", "--num", 2, "--split", "dev"], "--split"),
        (["import", "clevr-change", "set", "new"], "splits.json"),
        (["import", "levir", "set", "new"], "'levir-cc'"),
        (["check", "gone"], "'gone' does not exist"),
        (["show", "set", "--split", "test"], "has only train"),
        (["show", "set", "--out", "no/where.png"], "no/where.png"),
        (["show", "set", "--out", "where"], "unknown file extension"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, tmp_path, make_example, arguments, message):
    write_layout(tmp_path / "set", [make_example(0)])
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert message in ended.stderr.splitlines()[-1] and "Traceback" not in ended.output
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
