import json

import pytest
from idc_data import Folder, check_dataset, write_layout
from idc_data.check import grouped
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
        ({"id": "train-1"}, "error", "is also used in"),
        ({"references": ["a", " "]}, "warning", "blank"),
        ({"references": [" "]}, "error", "blank"),
        ({"references": ["a", "a"]}, "warning", "repeated"),
        ({"change_type": "none"}, "error", "expected 'none' if and only if"),
        ({"changed": False}, "error", "changed is False and change_type is 'move'"),
        ({"regions": {"before": [[30, 1, 5, 5]], "after": []}}, "error", "not inside the before image (32 x 24)"),
        ({"regions": {"before": [], "after": [[3, 1, 0, 5]]}}, "error", "not inside the after image"),
        ({"surprise": 1}, "note", "surprise"),
        ({"regoins": None, "regions": None}, "note", "regoins"),
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


@pytest.mark.parametrize(
    ("caption", "changed", "listed", "said"),
    [
        ("nothing has changed", True, "", "changed is True, but the captions claim no change"),
        ("the car is gone", False, "", "changed is False, but the captions are read as a change"),
        ("the car is gone", True, "", ""),
        ("è tutto uguale", False, "", ""),  # is not read, unless it is listed
        ("è tutto uguale", True, "tutto uguale", "changed is True, but the captions claim no change"),
    ],
)
def test_captions_that_contradict_changed_are_told_together(root, caption, changed, listed, said):
    if listed:
        (root / "no_change.txt").write_text(listed)
    for split in ("train", "val"):
        file = root / split / "metadata.jsonl"
        kind = {"references": [caption], "changed": changed, "change_type": "move" if changed else "none"}
        rows = [json.loads(line) | kind for line in file.read_text().splitlines()]
        file.write_text("\n".join(map(json.dumps, rows)))
    found = [problem for problem in check_dataset(root) if "captions" in problem.message]
    assert len(found) == (6 if said else 0)
    assert all(problem.severity == "warning" and problem.message.startswith(said) for problem in found)
    assert len(list(grouped(found))) == (4 if said else 0)


def test_what_is_wrong_with_images(root):
    leaked = (root / "train/train-2_before.png").read_bytes()
    (root / "val/val-0_before.png").write_bytes(leaked)
    (root / "val/val-1_after.png").write_bytes(leaked[:-30])
    Image.new("RGB", (5, 5)).save(root / "val/val-2_after.png")
    (root / "val/left_over.png").write_bytes(leaked)
    messages = [problem.message for problem in check_dataset(root)]
    assert len(messages) == 4
    assert "also in another split" in messages[0] and "train/metadata.jsonl:3" in messages[0]
    assert "val-1_after.png' is damaged" in messages[1]
    assert "32 x 24 and 5 x 5" in messages[2]
    assert "no line names 1 file in the folder, such as 'left_over.png'" in messages[3]


def test_nothing_there(tmp_path):
    assert "is not a dataset" in check_dataset(tmp_path)[0].message
    with pytest.raises(FileNotFoundError):
        check_dataset(tmp_path / "gone")


def test_a_split_under_another_name_is_named(root, tmp_path):
    (root / "val").rename(root / "validation")
    (problem,) = check_dataset(root)
    assert problem.severity == "error" and "there is no 'val'" in problem.message and "mv " in problem.message
    with pytest.raises(FileNotFoundError, match="has 'validation' instead of 'val': rename the folder"):
        Folder("val", root=root)


def test_what_systems_leave_beside_images_is_no_problem(root):
    for name in (".DS_Store", "Thumbs.db", "._val-0_before.png", "desktop.ini"):
        (root / "val" / name).write_bytes(b"\0\5\x16\7")
    assert check_dataset(root) == []


def test_problems_of_one_kind_are_told_together(root):
    file = root / "val/metadata.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    rows = [row | {"id": f"new-{n}", "before_file_name": f"{n}.png"} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    lines = list(grouped([p for p in check_dataset(root) if p.severity == "error"]))
    assert len(lines) == 4
    assert lines[2].startswith(f"{file}:3: error: there is no image '2.png'")
    assert lines[3] == f"  and 37 more of this kind, the last at {file}:40"
    assert list(grouped([])) == []


def test_columns_of_ones_own_are_named_in_their_order_with_the_first_line(root):
    file = root / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["mine"], rows[1]["yours"] = 1, 2
    file.write_text("\n".join(map(json.dumps, rows)))
    (note,) = check_dataset(root)
    assert note.line == 1 and note.message.endswith("'mine', 'yours'")


def test_the_command_that_renames_a_split_can_be_typed_as_it_stands(root, tmp_path):
    spaced = tmp_path / "my data"
    (root / "val").rename((spaced / "validation").parent.mkdir() or spaced / "validation")
    command = f"mv '{spaced / 'validation'}' '{spaced / 'val'}'"
    assert check_dataset(spaced)[0].message.endswith(command)
    with pytest.raises(FileNotFoundError, match=command):
        Folder("val", root=spaced)
