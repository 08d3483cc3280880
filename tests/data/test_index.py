"""A large metadata.jsonl is read by an index that is built once, and gives what a small one gives."""

import json

import numpy as np
import pytest
from idc_data import Folder, layout, write_layout
from idc_data import index as index_module


@pytest.fixture
def root(tmp_path, make_example):
    write_layout(tmp_path / "set", [make_example(number) for number in range(5)])
    return tmp_path / "set"


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(layout, "LARGE", 0)


def edit(root, change):
    file = root / "train/metadata.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps(row) for row in change(rows)) + "\n")


def test_the_rows_and_the_fingerprint_are_those_of_a_small_file(root, monkeypatch):
    edit(root, lambda rows: [row | {"mine": n} for n, row in enumerate(rows)])
    small = Folder("train", root=root)
    monkeypatch.setattr(layout, "LARGE", 0)
    for _ in range(2):  # built, and mapped
        large = Folder("train", root=root)
        assert list(large) == list(small) and large.fingerprint == small.fingerprint
        assert large[-1] == small[-1]
        with pytest.raises(IndexError):
            large[5]
    assert [path.name for path in root.iterdir() if path.is_file()] == [".train.index.npy"]


def test_the_index_is_built_once_and_anew_for_another_file(root, large):
    path = root / ".train.index.npy"
    first = Folder("train", root=root)
    written = path.stat().st_ino
    assert Folder("train", root=root).fingerprint == first.fingerprint and path.stat().st_ino == written
    edit(root, lambda rows: rows[1:])
    assert len(Folder("train", root=root)) == 4
    for damaged in (b"half", b""):
        path.write_bytes(damaged)
        assert len(Folder("train", root=root)) == 4 and np.load(path).shape == (5, 2)
    np.save(path, np.zeros(3))
    assert len(Folder("train", root=root)) == 4


def test_where_nothing_can_be_written_the_index_is_made_each_time(root, large, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(index_module, "whole", refuse)
    assert len(Folder("train", root=root)) == 5 and not (root / ".train.index.npy").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0]], "metadata.jsonl:6: the id 'train-0' is used twice"),
        (lambda rows: [rows[0], rows[1] | {"changed": "perhaps"}], "metadata.jsonl:2: changed"),
        (
            lambda rows: [rows[0] | {"after_file_name": "../x.png"}],
            "metadata.jsonl:1: the image '../x.png' lies outside",
        ),
        (lambda rows: [rows[0], rows[1] | {"after_file_name": "gone.png"}], "metadata.jsonl:2: there is no image"),
        (lambda rows: [], "is empty"),
        (
            lambda rows: [
                {k: v for k, v in rows[0].items() if not k.startswith("chang")} | {"references": ["è tutto"]}
            ],
            "metadata.jsonl:1: changed is missing and cannot be inferred",
        ),
    ],
)
def test_mistakes_are_named_as_in_a_small_file(root, large, change, message):
    edit(root, change)
    with pytest.raises((ValueError, OSError), match=r"metadata\.jsonl") as caught:
        Folder("train", root=root)
    assert message in str(caught.value)
    assert not (root / ".train.index.npy").exists()


def test_marks_and_blank_lines(root, large, monkeypatch):
    file = root / "train/metadata.jsonl"
    text = file.read_text()
    file.write_bytes(b"\xef\xbb\xbf\n" + text.encode())
    assert len(Folder("train", root=root)) == 5
    file.write_bytes(text.encode("utf-16"))
    assert len(Folder("train", root=root)) == 5
    file.write_bytes(text.encode().replace(b"red", b"r\xe9d"))
    with pytest.raises(ValueError, match=r"metadata\.jsonl:1: it is not in UTF-8"):
        Folder("train", root=root)
