import json

import pytest
from idc_data import check_dataset, write_layout
from PIL import Image


@pytest.fixture
def root(tmp_path, make_example):
    write_layout(tmp_path, [make_example(n, split=split) for split in ("train", "val") for n in range(3)])
    return tmp_path


def edit(root, split, **changes):
    file = root / split / "metadata.jsonl"
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | changes), *rest]))


def test_a_clean_dataset_has_no_problems(root):
    assert check_dataset(root) == []


@pytest.mark.parametrize(
    ("changes", "severity", "message"),
    [
        ({"id": "train-1"}, "error", "is that of"),
        ({"references": ["a", " "]}, "error", "blank"),
        ({"references": ["a", "a"]}, "warning", "twice"),
        ({"change_type": "none"}, "error", "expected 'none' for no change only"),
        ({"changed": False}, "error", "changed is False and change_type is 'move'"),
        ({"regions": {"before": [[30, 1, 5, 5]], "after": []}}, "error", "not inside of the before image (32 x 24)"),
        ({"regions": {"before": [], "after": [[3, 1, 0, 5]]}}, "error", "not inside of the after image"),
        ({"surprise": 1}, "error", "surprise"),
        ({"before_file_name": "../train/train-0_before.png"}, "error", "lies outside"),
        ({"before_file_name": "gone.png"}, "error", "there is no image 'gone.png'"),
        ({"after_file_name": "val-0_before.png"}, "warning", "the same file"),
    ],
)
def test_what_is_wrong_with_a_line(root, changes, severity, message):
    edit(root, "val", **changes)
    problems = [problem for problem in check_dataset(root) if message in problem.message]
    assert problems, check_dataset(root)
    assert problems[0].severity == severity
    assert str(problems[0]).startswith(f"{root / 'val' / 'metadata.jsonl'}:1: {severity}: ")


def test_what_is_wrong_with_images(root):
    leaked = (root / "train/train-2_before.png").read_bytes()
    (root / "val/val-0_before.png").write_bytes(leaked)
    (root / "val/val-1_after.png").write_bytes(leaked[:-30])
    Image.new("RGB", (5, 5)).save(root / "val/val-2_after.png")
    (root / "val/left_over.png").write_bytes(leaked)
    messages = [problem.message for problem in check_dataset(root)]
    assert len(messages) == 4
    assert "in another split too" in messages[0] and "train/metadata.jsonl:3" in messages[0]
    assert "val-1_after.png' is damaged" in messages[1]
    assert "32 x 24 and 5 x 5" in messages[2]
    assert "1 files in the folder are named by no line, as 'left_over.png'" in messages[3]


def test_nothing_there(tmp_path):
    assert "holds no dataset" in check_dataset(tmp_path)[0].message
    with pytest.raises(FileNotFoundError):
        check_dataset(tmp_path / "gone")
