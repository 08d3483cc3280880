"""Pairs out of two folders, as folders are in the world."""

import json
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from idc_data.images import passed_over
from idc_models.serving.inference import Caption
from PIL import Image

from idc_run.serving import caption_cli
from idc_run.serving.many import from_folders, from_jsonl
from idc_run.serving.overlay import check_format, picture_name


def folders(tmp_path, before, after):
    for side, names in (("monday", before), ("tuesday", after)):
        for name in names:
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / side / name).touch()
    return tmp_path / "monday", tmp_path / "tuesday"


def test_all_endings_of_images_are_paired_and_what_is_left_out_is_named(tmp_path):
    names = ["0.png", "1.jfif", "2.avif", "3.jp2", "4.JPG", "5.jpe", "6.ppm", "7.tga", "8.heic", "deep/9.TIF"]
    source = from_folders(*folders(tmp_path, [*names, "notes.txt", "film.mp4"], [*names, "a.doc", "b.doc"]))
    assert [str(row.name) for row in source.rows] == names and source.total == 10
    told = passed_over(source.others)
    assert "film.mp4" in told and "notes.txt" in told and "a.doc" in told and "(4 in all)" in told


def test_hidden_files_of_systems_are_silently_left_out(tmp_path):
    hidden = ["._yard.png", ".DS_Store", "Thumbs.db", "__MACOSX/yard.png", ".thumbs/yard.png"]
    source = from_folders(*folders(tmp_path, ["yard.png", *hidden], ["yard.png", *hidden[:2]]))
    assert source.total == 1 and not source.alone and not source.others


def test_lines_may_name_files_as_windows_or_macos_do(tmp_path):
    folders(tmp_path, ["è.png"], ["è.png"])
    line = json.dumps({"before": "monday\\e\u0300.png", "after": "tuesday/è.png"})
    (tmp_path / "pairs.jsonl").write_text(line)
    with (tmp_path / "pairs.jsonl").open() as file:
        (row,) = from_jsonl(file, tmp_path).rows
    assert row.before.exists() and row.after.exists() and row.given["before"] == "monday\\e\u0300.png"


def test_names_in_two_unicode_forms_meet(tmp_path):
    name = "città_è.png"
    given = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert given[0] != given[1]
    source = from_folders(*folders(tmp_path, given[:1], [given[1], "alone.png"]))
    (row,) = source.rows
    assert row.name == Path(given[0]) and row.after == tmp_path / "tuesday" / given[1] and row.after.exists()
    assert source.alone == (tmp_path / "tuesday" / "alone.png",)
    with pytest.raises(ValueError, match="twice, in two Unicode forms"):
        from_folders(*folders(tmp_path, given, given[:1]))


def test_folders_without_a_pair_say_what_was_left_out(tmp_path):
    with pytest.raises(ValueError, match=r"no pair: 1 .* 0 .*b.mp4"):
        from_folders(*folders(tmp_path, ["a.png"], ["b.mp4"]))


@pytest.mark.parametrize(
    "name", ["变化检测" * 20 + ".png", "x" * 251 + ".png", "\udcff" * 200 + ".jpg"], ids=["Chinese", "long", "no UTF-8"]
)
def test_pictures_of_long_names_have_names_that_can_be_written(tmp_path, name):
    (tmp_path / name).touch()  # the file system takes the name itself
    for wanted in (picture_name(Path(name)), picture_name(Path(name[:9]))):
        Image.new("RGB", (2, 2)).save(tmp_path / f".{wanted.name}.tmp.png")
        check_format(tmp_path / wanted)
    assert picture_name(Path("deep/a.png")) == Path("deep/a.png.png")
    assert picture_name(Path(name)) != picture_name(Path(f"{name[:-5]}_{name[-4:]}"))


def test_a_line_that_is_nested_too_deep_is_at_fault_alone(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("[" * 200_000 + '\n{"before": "a.png", "after": "b.png"}\n')
    with file.open() as lines:
        deep, good = from_jsonl(lines, tmp_path).rows
    assert deep.error and "line 1 is not JSON" in deep.error and good.error is None


def test_lines_may_begin_with_a_byte_order_mark(tmp_path, monkeypatch):
    class Fake:
        def caption(self, pairs, **settings):
            return [Caption("a door opened", -1.0) for _ in pairs]

    monkeypatch.setattr("idc_run.serving.remote.RemoteCaptioner", lambda address: Fake())
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text('{"before": "a.png", "after": "b.png"}\n', encoding="utf-8-sig")
    ended = CliRunner().invoke(caption_cli.caption, ["http://fake", "--jsonl", "pairs.jsonl"])
    assert ended.exit_code == 0 and json.loads(ended.stdout)["caption"] == "a door opened"
