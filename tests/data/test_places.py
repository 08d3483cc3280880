"""Files by name: links that stay below what the user gave, links that do not, and letters with their accents apart."""

import json
import os
import shutil
from unicodedata import normalize

import pytest
from click.testing import CliRunner
from idc_data import Folder, check_dataset, write_layout
from idc_data.cli import main


@pytest.fixture
def root(tmp_path, make_example):
    root = tmp_path / "set"
    write_layout(root, [make_example(n, split=split) for split in ("train", "val") for n in range(3)])
    return root


def link(file, target):
    """Put a file somewhere else, and a relative link in its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    file.symlink_to(os.path.relpath(target, file.parent))


def test_a_link_may_lead_to_anywhere_in_the_dataset(root):
    link(root / "val/val-0_before.png", root / "all/0.png")
    assert len(Folder("val", root=root)) == 3
    assert check_dataset(root) == []


def test_a_split_may_be_a_link(root, tmp_path):
    link(root / "val", tmp_path / "elsewhere/val")
    assert len(Folder("val", root=root)) == 3


def test_a_snapshot_of_a_hub_s_cache_is_read(root, tmp_path):
    snapshot = tmp_path / "datasets--me--mine/snapshots/0a1b"
    shutil.move(root, snapshot)
    for file in list(snapshot.rglob("*.*")):
        link(file, tmp_path / "datasets--me--mine/blobs" / f"{file.parent.name}-{file.name}")
    assert len(Folder("val", root=snapshot)) == 3
    assert check_dataset(snapshot) == []


def test_blobs_that_are_a_link_themselves_lead_nowhere(root, tmp_path):
    snapshot = tmp_path / "hub/snapshots/0a1b"
    shutil.move(root, snapshot)
    link(snapshot / "val/val-0_before.png", tmp_path / "secret/0.png")
    (tmp_path / "hub/blobs").symlink_to(tmp_path / "secret")
    (snapshot / "val/val-0_before.png").unlink()
    (snapshot / "val/val-0_before.png").symlink_to("../../../blobs/0.png")
    with pytest.raises(ValueError, match="is a link to"):
        Folder("val", root=snapshot)


def test_a_link_that_leaves_is_called_a_link_and_says_how_to_copy(root, tmp_path):
    link(root / "val/val-0_before.png", tmp_path / "blobs/0.png")
    with pytest.raises(ValueError, match=r"link to '.*0\.png'.*cp -rL "):
        Folder("val", root=root)
    assert "is a link to" in check_dataset(root)[0].message


def test_a_folder_below_the_split_may_not_be_a_link_that_leaves(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "val/val-0_before.png").rename(tmp_path / "elsewhere/0.png")
    (root / "val/more").symlink_to(tmp_path / "elsewhere")
    file = root / "val/metadata.jsonl"
    file.write_text(file.read_text().replace("val-0_before.png", "more/0.png"))
    with pytest.raises(ValueError, match=r"'more/0\.png' is a link to .*elsewhere/0\.png"):
        Folder("val", root=root)


@pytest.mark.parametrize("target", ["val-0_before.png", "../val/val-0_before.png", "gone.png"])
def test_links_to_themselves_or_to_nothing_are_one_line(root, target):
    image = root / "val/val-0_before.png"
    image.unlink()
    image.symlink_to(target)
    with pytest.raises((ValueError, OSError), match=r"metadata\.jsonl:1: .*link"):
        Folder("val", root=root)
    (root / "val/more").mkdir()
    (root / "val/more/round").symlink_to("..")
    checked = CliRunner().invoke(main, ["check", str(root)])
    assert checked.exit_code == 1 and "link" in checked.stdout and "Traceback" not in checked.output


def named_whole(root, path):
    """Name an image by its whole path."""
    file = root / "val/metadata.jsonl"
    file.write_text(file.read_text().replace('"val-0_before.png"', json.dumps(str(path))))


def test_the_whole_path_of_an_image_in_the_split_will_do(root, tmp_path, monkeypatch):
    named_whole(root, root / "val/val-0_before.png")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    for given in (root, root.relative_to(tmp_path), tmp_path / "link"):
        assert check_dataset(given) == []
        assert Folder("val", root=given)[0].before.samefile(root / "val/val-0_before.png")


def test_a_whole_path_of_elsewhere_is_told_from_where(root, tmp_path, monkeypatch):
    named_whole(root, root / "train/train-0_before.png")
    monkeypatch.chdir(tmp_path)
    (problem,) = (each for each in check_dataset(root.relative_to(tmp_path)) if each.severity == "error")
    given, home = str(root / "train/train-0_before.png"), str((root / "val").resolve())
    assert problem.message == f"the image {given!r} lies outside of {home!r}, expected a name relative to it"


@pytest.mark.parametrize("name", ["a\0b.png", "/a\0b.png", "x" * 300 + ".png", "é" * 300])
def test_names_that_no_file_has(root, name):
    file = root / "val/metadata.jsonl"
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | {"before_file_name": name}), *rest]))
    with pytest.raises((ValueError, OSError), match=r"metadata\.jsonl:1: "):
        Folder("val", root=root)
    assert check_dataset(root)[0].line == 1


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_and_accents_apart_are_the_same_name(root, form, other):
    (root / "val" / normalize(form, "città")).mkdir()
    (root / "val/val-0_before.png").rename(root / "val" / normalize(form, "città/è.png"))
    file = root / "val/metadata.jsonl"
    text = file.read_text().replace("val-0_before.png", normalize(other, "città/è.png"))
    file.write_text(text, encoding="utf-8")
    assert Folder("val", root=root)[0].before.is_file()
    assert check_dataset(root) == []


def test_the_command_that_copies_links_can_be_typed_as_it_stands(root, tmp_path):
    spaced = root.rename(tmp_path / "my data")
    image = spaced / "val/val-0_before.png"
    link(image, tmp_path / "elsewhere/0.png")
    assert check_dataset(spaced)[0].message.endswith(f"cp -rL '{spaced}' COPY")


def test_names_as_windows_writes_them(root):
    (root / "val/images").mkdir()
    for image in (root / "val").glob("*.png"):
        image.rename(root / "val/images" / image.name)
    file = root / "val/metadata.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row |= {name: f".\\images\\{row[name]}" for name in ("before_file_name", "after_file_name")}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(Folder("val", root=root)) == 3
    assert check_dataset(root) == []
    rows[0]["before_file_name"] = "..\\train\\train-0_before.png"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="lies outside of"):
        Folder("val", root=root)
