"""The doctor finds what is wrong with published datasets, and mends what can be mended, elsewhere."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from idc_data import Folder, write_layout
from idc_data.cli import main
from PIL import Image


@pytest.fixture
def check(root):
    """Run `idc-data check`: exit code and output."""

    def run(*arguments):
        ended = CliRunner().invoke(main, ["check", str(root), *map(str, arguments)])
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return ended.exit_code, ended.output

    return run


def test_records_of_one_pair_and_blank_sentences_are_told_with_the_command_that_mends_them(check, spot, tmp_path):
    code, output = check("--format", "spot-the-diff")
    assert code == 1
    assert re.search(r"^train +4 +3 +8,566 +3 +1$", output, re.MULTILINE)
    assert "records in train repeat a pair of an earlier record (1); --fix merge" in output
    assert "7 (train.json: record 3) is the same pair as 7 (train.json: record 1)" in output
    assert "sentences in train are blank (3); --fix drop-blank" in output
    assert "train has 3 pairs, but 8,566 were published" in output
    assert re.search(
        r"^fix: idc-data check .*set --format spot-the-diff --fix merge,drop-blank --out NEW$", output, re.M
    )
    code, output = check("--format", "spot-the-diff", "--fix", "merge,drop-blank", "--out", tmp_path / "new")
    assert code == 0 and "2 pairs in train, 1 pair in val, 1 pair in test" in output
    assert [len(pair.references) for pair in Folder("train", root=tmp_path / "new")] == [2, 1]


def test_a_pair_in_two_splits_is_left_out_of_the_earlier(check, requests, root, tmp_path):
    before = sorted(path.name for path in root.rglob("*"))
    code, output = check("--format", "image-editing-request")
    assert code == 1
    assert "error: pairs of val are also in test (1); --fix drop-shared\n    R_1 is R_9 in test" in output
    assert "error: before images of val are also in test (1)" in output
    code, output = check("--format", "image-editing-request", "--fix", "drop-shared", "--out", tmp_path / "new")
    assert code == 0 and "1 pair in train, 2 pairs in test" in output
    assert sorted(path.name for path in root.rglob("*")) == before


def test_sentences_that_contradict_a_flag_or_a_mask(check, levir, put, root, tmp_path):
    levir("flag", masks=True)
    content = json.loads((root / "LevirCCcaptions_v1.json").read_text())
    content["images"][0]["sentences"] = [{"raw": "there is no difference"}]
    put("LevirCCcaptions_v1.json", content)
    put("images/val/label/val_2.png", np.full((16, 20), 9, np.uint8))
    _, output = check("--format", "levir-cc")
    assert "pairs in train have sentences that contradict their flag (1); --fix drop-contradicting" in output
    assert "pairs in val have sentences that contradict their mask (1); --fix drop-contradicting" in output
    assert "the mask shows a change" in output
    _, output = check("--format", "levir-mci", "--fix", "drop-contradicting", "--out", tmp_path / "new")
    assert "1 pair in train, 1 pair in val, 2 pairs in test" in output
    assert Folder("test", root=tmp_path / "new")[0].regions is not None


def test_sentences_of_one_pair_that_contradict_each_other(check, levir):
    levir()
    assert (
        "pairs in test have sentences that contradict each other: some claim a change, some do not (1)"
        in check("--format", "levir-cc")[1]
    )


def test_images_that_are_missing_damaged_copied_or_of_no_pair(check, spot, put, root, tmp_path):
    images = root / "resized_images"
    (images / "8.png").unlink()
    (images / "7_2.png").write_bytes((images / "7_2.png").read_bytes()[:200])
    put("resized_images/stray.png")
    shutil.copy(images / "30.png", images / "20.png")
    smooth = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 5), np.uint8)).resize((80, 64)))
    put("resized_images/20_2.png", smooth)
    put("resized_images/30_2.png", np.clip(smooth.astype(int) + 1, 0, 255).astype(np.uint8))
    _, output = check("--format", "spot-the-diff")
    for line in (
        "images of train are missing (1); --fix drop-damaged",
        "images of train are damaged (1); --fix drop-damaged",
        "images belong to no pair (1)\n    resized_images/stray.png",
        "images of val are copies of images of test (1); --fix drop-shared\n    resized_images/20.png and resized_",
        "images of val are near copies of images of test (1); --fix drop-near",
        "pairs in test have images of different sizes (1)",
    ):
        assert line in output
    assert "damaged" not in check("--format", "spot-the-diff", "--quick")[1].replace("drop-damaged", "")
    code, output = check("--format", "spot-the-diff", "--fix", "merge", "--out", tmp_path / "new")
    assert code == 2 and not list((tmp_path / "new").glob("*"))


def test_annotations_without_images_are_checked_alone(check, spot, root):
    shutil.rmtree(root / "resized_images")
    output = check("--format", "spot-the-diff")[1]
    assert "all 10 images are missing; only the annotations were checked" not in output  # a pair is blank
    assert "all 8 images are missing; only the annotations were checked" in output


def test_a_split_under_another_name(check, spot, levir, root):
    (root / "annotations/val.json").rename(root / "val.json")
    (root / "val.json").rename(root / "validation.json")
    output = check("--format", "spot-the-diff")[1]
    assert "val needs the annotation file val.json, which is missing; 'validation.json' exists, rename it: mv" in output
    levir()
    (root / "images/val").rename(root / "images/valid")
    assert re.search(
        r"images of val are missing; 'valid' exists, rename it: mv \S*valid \S*val", check("--format", "levir-cc")[1]
    )


def test_a_language_or_script_that_the_protocols_do_not_read(check, put, spot, tmp_path):
    put("annotations/val.json", [{"img_id": "20", "sentences": ["une voiture grise", "Ещё одна машина"]}])
    output = check("--format", "spot-the-diff")[1]
    assert "sentences in val are in a script that the protocols do not support (1); --fix drop-foreign" in output
    assert "val does not look English, which the protocols expect: only 0 of 2 sentences do" in output
    check("--format", "spot-the-diff", "--fix", "drop-foreign", "--out", tmp_path / "new")
    assert Folder("val", root=tmp_path / "new")[0].references == ("une voiture grise",)


def test_a_folder_in_our_own_layout_is_mended_into_a_new_one(check, root, tmp_path, make_example):
    write_layout(root, [make_example(number, split=split) for split in ("train", "val") for number in range(3)])
    shutil.copy(root / "val/val-0_before.png", root / "train/train-0_before.png")
    assert check()[0] == 1
    code, output = check("--fix", "drop-shared", "--out", tmp_path / "new")
    assert code == 0 and "copies of images of val" in output
    kept = Folder("train", root=tmp_path / "new")
    assert [pair.id for pair in kept] == ["train-1", "train-2"]
    assert kept[0].provenance["number"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fix", "merge"], "--fix and --out must be given together"),
        (["--format", "spot-the-diff", "--fix", "drop-blnk", "--out", "new"], "did you mean 'drop-blank'?"),
        (["--format", "spot-the-diff", "-s", "images"], "expected NAME=VALUE"),
        (["--format", "spot-the-diff", "-s", "image=x"], "unknown setting 'image'; did you mean 'images'?"),
    ],
)
def test_mistakes(check, spot, arguments, message):
    code, output = check(*arguments)
    assert code == 2 and message in output
