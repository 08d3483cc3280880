import json

import numpy as np
import pytest
from idc_data import Folder, check_dataset, load_image, write_layout

METADATA = "metadata.jsonl"


@pytest.fixture
def written(tmp_path, make_example):
    examples = [make_example(n, split=split) for split in ("train", "val") for n in range(4)]
    assert write_layout(tmp_path / "set", examples) == {"train": 4, "val": 4}
    return tmp_path / "set", examples


def edit(folder, number, **changes):
    lines = (folder / METADATA).read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | changes)
    (folder / METADATA).write_text("\n".join(lines))


def test_what_is_written_is_read(written):
    root, examples = written
    for split in ("train", "val"):
        expected = [example for example in examples if example.split == split]
        folder = Folder(split, root=root)
        assert len(folder) == 4 and not folder.endless
        for mine, theirs in zip(expected, folder, strict=True):
            for side in ("before", "after"):
                assert np.array_equal(load_image(getattr(theirs, side)), getattr(mine, side))
            for field in ("id", "references", "changed", "change_type", "split", "regions", "provenance", "truth"):
                assert getattr(theirs, field) == getattr(mine, field), field


def test_hugging_face_datasets_reads_it(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    root, examples = written
    loaded = datasets.load_dataset("imagefolder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation"}
    row = loaded["validation"][1]
    assert np.array_equal(np.asarray(row["before"]), examples[5].before)
    assert np.array_equal(np.asarray(row["after"]), examples[5].after)
    assert row["references"] == list(examples[5].references)
    assert row["regions"] == {"before": [[4.0, 6.0, 8.0, 6.0]], "after": []}
    assert loaded["validation"][2]["regions"] is None
    assert row["provenance"] == examples[5].provenance


def test_ids_cannot_leave_the_folder(tmp_path, make_example):
    ids = ["../../up", "/abs", "a/b", "a_b", ".", "..", "ü", "x" * 400, "c:\\d", "a\0b"]
    write_layout(tmp_path / "set", [make_example(n, id=name) for n, name in enumerate(ids)])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert len(list((tmp_path / "set/train").iterdir())) == 2 * len(ids) + 1
    assert [example.id for example in Folder("train", root=tmp_path / "set")] == ids
    assert check_dataset(tmp_path / "set") == []


def test_the_fingerprint_follows_the_contents(written, tmp_path, make_example):
    root, _ = written
    one = Folder("train", root=root).fingerprint
    write_layout(tmp_path / "copy", [make_example(n) for n in range(4)])
    assert Folder("train", root=tmp_path / "copy").fingerprint == one
    assert Folder("val", root=root).fingerprint != one
    edit(root / "train", 0, references=["other words"])
    assert Folder("train", root=root).fingerprint != one


def test_writing_never_replaces_unasked(written, make_example):
    root, _ = written
    with pytest.raises(ValueError, match="already exists"):
        write_layout(root, [make_example(9)])
    assert len(Folder("train", root=root)) == 4
    write_layout(root, [make_example(9)], overwrite=True)
    assert [example.id for example in Folder("train", root=root)] == ["train-9"]
    assert len(Folder("val", root=root)) == 4
    (root / "test").mkdir()
    (root / "test" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="remove it yourself"):
        write_layout(root, [make_example(9, split="test")], overwrite=True)


def test_a_failed_write_leaves_nothing(tmp_path, make_example):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    for wrong, message in [
        (make_example(1, before=bad), "bad.png"),
        (make_example(0), "is used twice"),
        (make_example(1, references=()), "expected at least one"),
        (make_example(1, split="dev"), "expected one of train, val, test"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_layout(tmp_path / "set", [make_example(0), wrong])
    assert not (tmp_path / "set").exists()
    with pytest.raises(ValueError, match="no examples"):
        write_layout(tmp_path / "set", [])


def test_a_split_in_the_place_of_the_dataset(written):
    root, _ = written
    with pytest.raises(FileNotFoundError, match="'.*val' is a split; expected the folder of the dataset, '.*set'"):
        Folder("train", root=root / "val")


def test_file_names_that_escape_are_refused(written, tmp_path):
    root, _ = written
    outside = tmp_path / "outside.png"
    outside.write_bytes((root / "val/val-0_before.png").read_bytes())
    (root / "train/link.png").symlink_to(outside)
    for name in ("../val/val-0_before.png", str(outside), "link.png"):
        edit(root / "train", 2, before_file_name=name)
        with pytest.raises(ValueError, match=r"metadata\.jsonl:3: the image .* lies outside"):
            Folder("train", root=root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "train-0"}, "metadata.jsonl:2: the id 'train-0' is used twice"),
        ({"references": []}, "metadata.jsonl:2: references"),
        ({"changed": "perhaps"}, "metadata.jsonl:2: changed"),
        ({"reference": "x", "references": None}, "metadata.jsonl:2: references"),
        ({"regions": {"before": [[1, 2, 3]], "after": []}}, r"metadata.jsonl:2: regions\.before\.0"),
        ({"after_file_name": "none.png"}, "metadata.jsonl:2: there is no image 'none.png'"),
    ],
)
def test_bad_lines_are_named(written, changes, message):
    root, _ = written
    edit(root / "train", 1, **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Folder("train", root=root)


def test_broken_json_and_missing_split(written):
    root, _ = written
    with pytest.raises(FileNotFoundError, match="has only train, val"):
        Folder("test", root=root)
    with (root / "val" / METADATA).open("a") as file:
        file.write("\n{oops")
    with pytest.raises(ValueError, match=r"metadata\.jsonl:6: .*JSON"):
        Folder("val", root=root)
    (root / "val" / METADATA).write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        Folder("val", root=root)
