"""Every published dataset is read in miniature: names, merged records, blank sentences, and what no change is."""

import json
import logging

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from idc_data import open_reader
from idc_data.readers import FORMATS


@pytest.fixture
def read(root):
    return lambda name, split="train", **settings: open_reader({"name": name, "root": root, **settings}, split)


def test_spot_the_diff_merges_records_and_drops_blanks(read, spot, caplog):
    with caplog.at_level(logging.WARNING):
        car, same = read("spot-the-diff")
    assert (car.id, car.references, car.changed) == ("7", ("the car is gone", "a man left"), True)
    assert (same.id, same.changed, same.change_type) == ("8", False, "none")
    assert (car.before.name, car.after.name) == ("7.png", "7_2.png")
    assert "4 records for 2 pairs" in caplog.text and "3 blank sentences, 1 pair without" in caplog.text


def test_spot_the_diff_joins_the_sentences_of_a_record_for_the_other_protocol(read, spot):
    assert read("spot-the-diff", sentences="joined")[0].references == ("the car is gone", "the car is gone. a man left")
    assert read("spot-the-diff", sentences="joined").fingerprint != read("spot-the-diff").fingerprint


def test_image_editing_request_merges_rows_and_all_are_changes(read, requests):
    (pair,) = read("image-editing-request")
    assert (pair.id, pair.references) == ("Z_1", ("make it darker", "darken it"))
    (pair,) = read("image-editing-request", "val")
    assert pair.changed and pair.change_type == "edit"


LINES = [{"img1": "11", "img2": "12", "description": ["animal1", "is", "red", "."]}] * 2 + [
    {"img1": "11", "img2": "12", "description": [["animal2", "is", "blue"], ["both", "sing"]]}
]
HEAD = [f"img{n}{name}" for n in (1, 2) for name in ("ObservationURL", "ImgURL", "Species", "Selection")]
HEAD += ["split", "annN", "description"]


def test_birds_to_words_of_both_forms(read, put, root):
    put("images/12.png")
    put("images/11.jpg").rename(root / "images/11.jpeg")
    put("train.json", "\n".join(map(json.dumps, LINES)))
    (pair,) = read("birds-to-words")
    assert pair.references == ("animal1 is red .", "animal2 is blue", "both sing")
    assert pair.changed and (pair.before.name, pair.after.name) == ("11.jpeg", "12.png")
    address = "https://www.inaturalist.org/photos/{}"
    rows = [
        ["u", address.format(11), "robin", "x", "u", address.format(12), "owl", "x", split, "1", f'a "tit" of {split}']
        for split in ("train", "val")
    ]
    put("birds-to-words-v1.0.tsv", "\n".join("\t".join(row) for row in (HEAD, *rows)))
    (pair,) = read("birds-to-words", "val")
    assert pair.references == ('a "tit" of val',) and pair.provenance["img2Species"] == "owl"


@pytest.mark.parametrize("form", ["karpathy", "flag", "by split"])
def test_levir_cc_of_three_forms(read, levir, form):
    levir(form)
    built, same = read("levir-cc", "val")
    assert (built.id, built.changed, same.changed) == ("val_1", True, False)
    assert len(built.references) == len(same.references) == 5
    assert (built.before.parent.name, built.after.parent.name) == ("A", "B") and built.regions is None


def test_the_masks_of_levir_mci_are_boxes(read, levir):
    levir(masks=True)
    for name in ("levir-mci", "levir-cc"):
        built, same = read(name)
        assert built.regions.before == built.regions.after == ((3, 2, 5, 4), (12, 9, 6, 5))
        assert same.regions is None


def test_dubai_cc(read, put):
    put("imgs_tiles/RGB/500_2000/tile_1.tif")
    put("imgs_tiles/RGB/500_2010/tile_1.tif")
    sentences = [{"raw": "a road was built"}, {"raw": NOTHING}, {"raw": NOTHING}]
    put("description_jsontr_te_val/Validation_x.json", {"images": [{"filename": "tile_1.tif", "sentences": sentences}]})
    (pair,) = read("dubai-cc", "val")
    assert (pair.id, pair.changed, len(pair.references)) == ("tile_1", False, 3)


NOTHING = "there is no difference"


@pytest.mark.parametrize("renamed", [False, True])
def test_clevr_dc_of_both_layouts(read, put, renamed):
    before, after = ("images", "sc_images") if renamed else ("bef", "aft")
    for number in (3, 40001):
        for folder in (before, after):
            put(f"{folder}/{number:06d}.png" if renamed else f"{folder}/{number}.png")
    key = "{:06d}.png" if renamed else "{}"
    captions = {key.format(3): ["it became red"], key.format(40001): ["nothing changed"]}
    put("change_captions.json" if renamed else "captions.json", captions)
    put("splits.json" if renamed else "split.json", {"train": [3, 40001], "val": [], "test": []})
    red, same = read("clevr-dc")
    assert (red.id, red.change_type, red.changed, same.changed) == ("000003", "color", True, False)


def test_clevr_multi_change_joins_what_changed(read, put):
    scenes = [
        {"image_id": f"CLEVR_t1_{n}.png", "change_captions": ["A cube has been added. ", "The ball is missing."]}
        for n in range(6)
    ]
    for number in range(6):
        put(f"images/CLEVR_t1_{number}.png")
        put(f"images/CLEVR_t2_{number}.png")
    put("multiple_change_caption.json", scenes)
    assert [len(read("clevr-multi-change", split)) for split in ("train", "val", "test")] == [4, 1, 1]
    pair = read("clevr-multi-change", "test")[0]
    assert pair.references == ("A cube has been added. The ball is missing.",)
    assert pair.after.name == "CLEVR_t2_5.png"
    put("splits.json", {"test": [0, 1]})
    assert [pair.id for pair in read("clevr-multi-change", "test")] == ["CLEVR_t1_0", "CLEVR_t1_1"]


def test_edits_of_magicbrush_and_of_instruct_pix2pix(read, put):
    for turn in ("input", "output1", "output2"):
        put(f"dev/images/42/42-{turn}.png")
    put(
        "dev/edit_turns.json",
        [
            {"input": "42-input.png", "output": "42-output1.png", "instruction": "add a hat"},
            {"input": "42-output1.png", "output": "42-output2.png", "instruction": "no hat"},
        ],
    )
    assert [(pair.references[0], pair.changed) for pair in read("edits", "val")] == [
        ("add a hat", True),
        ("no hat", True),
    ]
    put("seeds.json", [["a/1", ["77", "78"]], *[["a/2", ["1"]]] * 9])
    for name in ("1/77_0", "1/77_1", "1/78_0", "1/78_1", "2/1_0", "2/1_1"):
        put(f"a/{name}.jpg")
    for folder in "12":
        put(f"a/{folder}/prompt.json", {"edit": f"edit {folder}"})
    assert [pair.id for pair in read("edits")] == ["a-1-77", "a-1-78", "a-2-1"]
    assert read("edits", "test")[0].references == ("edit 2",)


ROWS = [
    {"old": "1.png", "new": "2.png", "text": "it moved", "kind": "move", "part": "train"},
    {"old": "1.png", "new": "2.png", "text": "it went away", "kind": "move", "part": "train"},
    {"old": "2.png", "new": "3.png", "text": "nothing has changed", "kind": "none", "part": "dev"},
]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_with_columns_of_its_own(read, put, root, ending):
    for number in (1, 2, 3):
        put(f"{number}.png")
    if ending == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), root / "all.parquet")
    elif ending == "jsonl":
        put("all.jsonl", "\n".join(map(json.dumps, ROWS)))
    else:
        sign = "," if ending == "csv" else "\t"
        put(f"all.{ending}", "\n".join(sign.join(row) for row in (ROWS[0], *(each.values() for each in ROWS))))
    names = {"before": "old", "after": "new", "captions": "text", "change_type": "kind", "split_column": "part"}
    (pair,) = read("table", file=f"all.{ending}", **names)
    assert (pair.references, pair.change_type) == (("it moved", "it went away"), "move")
    (pair,) = read("table", "val", file=f"all.{ending}", **names)
    assert not pair.changed
    with pytest.raises(ValueError, match="row 1: there is no column 'split', expected one of 'old', 'new'"):
        read("table", file=f"all.{ending}")


def test_coco_annotations_and_results(read, put):
    for name in ("before/000001.png", "after/000001.png"):
        put(name)
    images = {"images": [{"id": 1, "file_name": "000001.png"}]}
    annotations = [{"image_id": 1, "caption": text} for text in ("it moved", "the cube moved")]
    put("captions_train.json", images | {"annotations": annotations})
    put("captions_val.json", [{"image_id": "000001.png", "caption": "nothing changed"}])
    assert read("coco")[0].references == ("it moved", "the cube moved")
    assert not read("coco", "val", after="after/{stem}.png")[0].changed
    with pytest.raises(ValueError, match=r"'\{folder\}/1\.png' has a field .* expected some of file_name, id, stem"):
        read("coco", after="{folder}/1.png")


def test_a_saved_dataset_of_hugging_face(read, put, root):
    rows = {"old": [str(put("a.png")), str(put("a.png"))], "new": [str(put("b.png")), str(put("c.png"))]}
    rows |= {"text": ["it moved", "nothing changed"]}
    made = datasets.Dataset.from_dict(rows).cast_column("old", datasets.Image())
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(root / "saved")
    reader = open_reader(
        {"name": "huggingface", "root": root / "saved", "before": "old", "after": "new", "captions": "text"}, "val"
    )
    moved, same = reader
    assert (moved.references, moved.changed, same.changed) == (("it moved",), True, False)
    assert moved.before.shape == (16, 20, 3) and reader.fingerprint
    with pytest.raises(ValueError, match="no split 'test', expected one of train, validation"):
        open_reader({"name": "huggingface", "root": root / "saved"}, "test")


def test_what_is_not_as_published_is_named(read, put, spot, root):
    (root / "resized_images/7_2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"7_2\.png' \(train\.json: record 1\); spot-the-diff is train\.json"):
        read("spot-the-diff")
    put("annotations/train.json", [{"img_id": 7}])
    with pytest.raises(ValueError, match=r"train\.json: record 1: img_id is 7, expected a text"):
        read("spot-the-diff")
    put("annotations/train.json", "<html>quota exceeded</html>")
    with pytest.raises(ValueError, match=r"train\.json' is not JSON.*it is a web page: download the file again"):
        read("spot-the-diff")
    with pytest.raises(FileNotFoundError, match=r"LevirCCcaptions\.json'; levir-cc is"):
        read("levir-cc")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_names_the_folder_it_does_not_find(read, name):
    with pytest.raises((OSError, ValueError), match="set"):
        read(name)
