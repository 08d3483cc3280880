"""What is written for others is read by Hugging Face `datasets`, and tar files by our own reader, too."""

import io
import json
import tarfile

import datasets
import numpy as np
import pytest
from click.testing import CliRunner
from idc_data import Folder, open_reader, write_layout
from idc_data.cli import main
from idc_data.export.webdataset import write_webdataset
from idc_data.images import load_image

datasets.disable_progress_bars()


@pytest.fixture
def exported(root, tmp_path, make_example, monkeypatch):
    """Export three pairs of train and of val; the folder, and what is printed."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_layout(root, [make_example(number, split=split) for split in ("train", "val") for number in range(3)])

    def run(form):
        ended = CliRunner().invoke(main, ["export", str(root), str(tmp_path / "out"), "--to", form])
        assert ended.exit_code == 0, ended.output
        return tmp_path / "out", ended.stdout

    return run


def test_parquet_has_images_and_splits(exported, root):
    out, printed = exported("parquet")
    assert printed.split() == [f"{out}/{split}-00000-of-00001.parquet" for split in ("train", "val")]
    read = datasets.load_dataset("parquet", data_dir=str(out))
    assert sorted(read) == ["train", "validation"]
    row, pair = read["validation"][1], Folder("val", root=root)[1]
    assert (row["id"], tuple(row["references"]), row["changed"]) == (pair.id, pair.references, pair.changed)
    np.testing.assert_array_equal(np.asarray(row["after"]), load_image(pair.after))
    assert row["before_boxes"] == [[4, 6, 8, 6]] and json.loads(row["provenance"])["number"] == 1
    same = open_reader({"name": "huggingface", "root": out, "form": "parquet", "change_type": "change_type"}, "val")[1]
    assert (same.references, same.changed, same.change_type) == (pair.references, pair.changed, pair.change_type)


def test_tar_files_are_read_back_by_us_and_by_datasets(exported, root):
    out, _ = exported("webdataset")
    back, pairs = open_reader({"name": "webdataset", "root": out}, "train"), Folder("train", root=root)
    assert len(back) == len(pairs) == 3
    for ours, theirs in zip(back, pairs, strict=True):
        np.testing.assert_array_equal(ours.before, load_image(theirs.before))
        for name in ("id", "references", "changed", "change_type", "regions", "provenance"):
            assert getattr(ours, name) == getattr(theirs, name)
    row = datasets.load_dataset("webdataset", data_dir=str(out))["train"][0]
    assert row["json"]["id"] == "train-0" and row["before.png"].size == (32, 24)


def test_tar_files_are_the_same_bytes_each_time_and_of_limited_size(tmp_path, make_example):
    examples = [make_example(number) for number in range(5)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert len(write_webdataset(tmp_path / name, "train", examples, shard=2)) == 3
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    back = open_reader({"name": "webdataset", "root": tmp_path / "one"}, "train")
    assert [pair.id for pair in back] == [example.id for example in examples]


def test_tar_files_of_others(tmp_path, make_example):
    with tarfile.open(tmp_path / "test-0.tar", "w") as file:
        for name, content in (("a/1.old.png", b"no image"), ("a/1.new.png", b""), ("a/1.txt", b"nothing changed")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match="'a/1' has no 'before', only new, old, txt"):
        open_reader({"name": "webdataset", "root": tmp_path}, "test")
    read = open_reader({"name": "webdataset", "root": tmp_path, "before": "old", "after": "new"}, "test")
    with pytest.raises(ValueError, match=r"test-0\.tar'.*not an image"):
        read[0]


@pytest.mark.parametrize("form", ["ms-swift", "llama-factory"])
def test_conversations_about_two_images(exported, form):
    out, _ = exported(form)
    if form == "llama-factory":
        about = json.loads((out / "dataset_info.json").read_text())
        assert about["out_train"]["file_name"] == "train.jsonl" and about["out_train"]["formatting"] == "sharegpt"
    rows = datasets.load_dataset("json", data_files={"train": str(out / "train.jsonl")})["train"]
    assert len(rows) == 7  # references of three pairs
    for row in rows:
        user, assistant = row["messages"]
        assert user["role"] == "user" and user["content"].count("<image>") == len(row["images"]) == 2
        assert assistant["role"] == "assistant" and assistant["content"]
        assert all((out / name).is_file() for name in row["images"])


def test_trl_has_prompt_completion_and_images(exported):
    out, _ = exported("trl")
    rows = datasets.load_dataset("parquet", data_dir=str(out))["train"]
    assert len(rows) == 7
    row = rows[0]
    assert [part["type"] for part in row["prompt"][0]["content"]] == ["image", "image", "text"]
    assert row["completion"] == [{"role": "assistant", "content": [{"text": "the red square moved", "type": "text"}]}]
    assert [image.size for image in row["images"]] == [(32, 24)] * 2


def test_a_folder_that_holds_something_is_not_written_to(root, tmp_path, make_example):
    write_layout(root, [make_example(0)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("")
    ended = CliRunner().invoke(main, ["export", str(root), str(tmp_path / "out"), "--to", "trl"])
    assert ended.exit_code == 2 and "is not empty" in ended.stderr
