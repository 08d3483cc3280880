"""Lists, tables and captions of the user's own, as Excel and Windows write them."""

import json
from pathlib import Path
from unicodedata import normalize

import pytest
from idc_data.generate import caption, pair
from idc_data.generate.collect import ImageFolder, ImageList, collect, dataset_pairs


def through(what, description, length):
    return what


@pytest.fixture
def images(photos):
    return collect(photos, ImageFolder(root=photos).paths(), through)[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "table",
    [
        "before,after\n0_0.png,0_1.png\n",
        "before;after\r\n0_0.png;0_1.png\r\n",
        "sep=;\r\nbefore;after\r\n0_0.png;0_1.png\r\n",
        "note\tbefore\tafter\n\t0_0.png\t0_1.png\n",
        '"before","after"\n"0_0.png","0_1.png"\n',
    ],
)
def test_tables_of_spreadsheets(photos, images, tmp_path, encoding, table):
    (tmp_path / "pairs.csv").write_bytes(table.encode(encoding))
    assert len(pair.Given(file=tmp_path / "pairs.csv")(images, photos, None)[0]) == 1
    (tmp_path / "pairs.csv").write_bytes(table.replace("0_1", "gone").encode(encoding))
    with pytest.raises(ValueError, match=rf"pairs\.csv:{2 + table.startswith('sep')}: after 'gone\.png'"):
        pair.Given(file=tmp_path / "pairs.csv")(images, photos, None)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_and_captions_with_a_byte_order_mark(photos, images, captions, encoding):
    captions.write_bytes(captions.read_text().encode(encoding))
    (photos / "list.txt").write_bytes("0_1.png\r\n2_3.png\r\n".encode(encoding))
    assert [str(path) for path in ImageList(file=photos / "list.txt").paths()] == ["0_1.png", "2_3.png"]
    assert len(caption.Given(file=captions)(images, photos, None)) == len(images)


@pytest.mark.parametrize("read", [lambda file: ImageList(file=file), lambda file: caption.Given(file=file)])
def test_another_encoding_is_one_line(tmp_path, read):
    (tmp_path / "file").write_bytes('{"città.png": "a"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="line 1 is not in UTF-8") as caught:
        read(tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_and_accents_apart_are_the_same_name(photos, tmp_path, form, other):
    for name in ("0_0.png", "0_1.png"):
        (photos / name).rename(photos / normalize(form, f"è{name}"))
    paths = [normalize(other, f"è{name}") for name in ("0_0.png", "0_1.png")]
    (photos / "list.txt").write_text("\n".join(paths), encoding="utf-8")
    listed = ImageList(file=photos / "list.txt")
    images, notes = collect(photos, listed.paths(), through)
    assert len(images) == 2 and not notes["broken"]
    (tmp_path / "pairs.csv").write_text("before,after\n" + ",".join(paths), encoding="utf-8")
    assert len(pair.Given(file=tmp_path / "pairs.csv")(images, photos, None)[0]) == 1
    (tmp_path / "captions.json").write_text(json.dumps(dict.fromkeys(paths, "a dog")), encoding="utf-8")
    assert len(caption.Given(file=tmp_path / "captions.json")(images, photos, None)) == 2
    line = {"before_file_name": paths[0], "after_file_name": paths[1]}
    (photos / "metadata.jsonl").write_text("\ufeff" + json.dumps(line), encoding="utf-8")
    assert [set(found) for found in dataset_pairs(photos, [Path("metadata.jsonl")])] == [set(listed.paths())]


def test_paths_as_windows_writes_them(photos, tmp_path):
    (photos / "monday").mkdir()
    (photos / "0_0.png").rename(photos / "monday/a.png")
    (photos / "list.txt").write_text("monday\\a.png\r\n.\\0_1.png\r\n")
    images, notes = collect(photos, ImageList(file=photos / "list.txt").paths(), through)
    assert len(images) == 2 and not notes["broken"]
    (tmp_path / "pairs.csv").write_text("before;after\r\nmonday\\a.png;.\\0_1.png\r\n")
    assert len(pair.Given(file=tmp_path / "pairs.csv")(images, photos, None)[0]) == 1
    (tmp_path / "captions.json").write_text(json.dumps({"monday\\a.png": "a dog", "0_1.png": "a cat"}))
    assert len(caption.Given(file=tmp_path / "captions.json")(images, photos, None)) == 2


def test_links_in_a_folder_of_photos(photos, tmp_path):
    (photos / "round.png").symlink_to("round.png")
    (photos / "up").symlink_to("..")
    (photos / "again.png").symlink_to("0_0.png")
    assert len(collect(photos, ImageFolder(root=photos).paths(), through)[0]) == 12
    (photos / "0_1.png").rename(tmp_path / "away.png")
    (photos / "0_1.png").symlink_to(tmp_path / "away.png")
    with pytest.raises(ValueError, match=r"'0_1\.png' is a link to .*cp -rL"):
        collect(photos, ImageFolder(root=photos).paths(), through)
