import json
import sys

import pytest
from idc_data import READERS, Folder, Reader, open_reader, resolve_reader, write_layout
from idc_data.readers.clevr_change import ClevrChange
from PIL import Image


@pytest.fixture
def clevr(tmp_path):
    """Scenes 0, 2 and 7 in the published layout: as there, the numbers in splits.json skip scenes."""
    root = tmp_path / "clevr"
    for scene in (0, 2, 7):
        for folder, kind in (("images", "default"), ("sc_images", "semantic"), ("nsc_images", "nonsemantic")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 9), (10 * scene, 0, 0)).save(root / folder / f"CLEVR_{kind}_{scene:06d}.png")
    (root / "images" / "Thumbs.db").write_text("a stray file shifts nothing")
    names = [f"CLEVR_default_{scene:06d}.png" for scene in (0, 2, 7)]
    contents = {
        "change_captions": {name: [f"the ball of {name} moved", "it moved"] for name in names},
        "no_change_captions": {name: ["no change was made"] for name in names},
        "splits": {"train": [0], "val": [2], "test": [7]},
        "type_mapping": {"color": ["000000.png"], "material": ["000002.png"], "drop": ["000007.png"]},
        "change_captions_with_bbox": {"7": {"bbox_before": [1, 2, 3, 4], "bbox_after": None}},
    }
    for name, content in contents.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


def test_clevr_change_gives_two_pairs_of_a_scene(clevr):
    changed, distractor = open_reader({"name": "clevr-change", "root": str(clevr)}, "test")
    assert (changed.id, changed.changed, changed.change_type, changed.split) == ("000007", True, "drop", "test")
    assert changed.references == ("the ball of CLEVR_default_000007.png moved", "it moved")
    assert (changed.regions.before, changed.regions.after) == (((1, 2, 3, 4),), ())
    assert (changed.before.name, changed.after.name) == ("CLEVR_default_000007.png", "CLEVR_semantic_000007.png")
    assert (distractor.id, distractor.changed, distractor.change_type) == ("000007_n", False, "none")
    assert distractor.references == ("no change was made",)
    assert distractor.after.name == "CLEVR_nonsemantic_000007.png"
    assert distractor.before == changed.before and distractor.regions is None


def test_clevr_change_settings(clevr):
    assert [e.id for e in ClevrChange("val", root=clevr, pairs="semantic")] == ["000002"]
    assert [e.id for e in ClevrChange("val", root=clevr, pairs="distractor")] == ["000002_n"]
    assert ClevrChange("val", root=clevr)[0].change_type == "texture"
    prints = {
        ClevrChange(split, root=clevr, pairs=p).fingerprint for split in ("train", "val") for p in ("both", "semantic")
    }
    assert len(prints) == 4
    with pytest.raises(ValueError, match="split is 'dev', expected one of train, val, test"):
        ClevrChange("dev", root=clevr)


def test_clevr_change_does_without_types_and_boxes(clevr):
    (clevr / "type_mapping.json").unlink()
    (clevr / "change_captions_with_bbox.json").unlink()
    changed = ClevrChange("test", root=clevr)[0]
    assert changed.change_type == "unknown" and changed.regions is None


@pytest.mark.parametrize("name", ["splits.json", "no_change_captions.json", "sc_images/CLEVR_semantic_000007.png"])
def test_clevr_change_names_the_missing_file(clevr, name):
    (clevr / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}.*laid out as images/CLEVR_default_000000"):
        ClevrChange("test", root=clevr)


def test_clevr_change_names_the_bad_file(clevr):
    (clevr / "change_captions.json").write_text("{}")
    with pytest.raises(ValueError, match=r"change_captions\.json'.*'CLEVR_default_000007\.png'"):
        ClevrChange("test", root=clevr)
    (clevr / "change_captions.json").write_text("<html>quota exceeded</html>")
    with pytest.raises(ValueError, match=r"change_captions\.json' is not JSON"):
        ClevrChange("test", root=clevr)


def test_a_reader_is_opened_by_name_path_or_class(tmp_path, make_example, monkeypatch):
    write_layout(tmp_path / "set", [make_example(n) for n in range(3)])
    monkeypatch.chdir(tmp_path)
    for dataset in ("set", {"name": "folder", "root": "set"}, {"name": "idc_data.layout:Folder", "root": "set"}):
        reader = open_reader(dataset, "train")
        assert isinstance(reader, Folder) and isinstance(reader, Reader)
        assert len(reader) == 3
    for name in READERS:
        assert resolve_reader(name if name.endswith("scenes") else {"name": name, "root": "."})[0]


def test_a_reader_may_lie_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reader_of_this_folder.py").write_text("from idc_data import Folder\nclass Mine(Folder): ...\n")
    assert resolve_reader({"name": "reader_of_this_folder:Mine", "root": "set"})[0].__name__ == "Mine"


def test_settings_are_completed_and_image_size_is_passed_on():
    assert resolve_reader("scenes")[1]["image_size"] == 64
    assert open_reader("scenes", "val", image_size=32)[0].before.shape == (32, 32, 3)
    assert open_reader({"name": "scenes", "image_size": 48}, "val", image_size=32)[0].before.shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("scnes", "unknown dataset 'scnes'; did you mean 'scenes'"),
        ("no/such/place", "dataset 'no/such/place': there is no such folder; expected the folder of a dataset"),
        ({"name": "scenes", "image_siz": 3}, "'scenes': unknown setting 'image_siz'; did you mean 'image_size'"),
        ({"name": "scenes", "seed": "x"}, "'scenes': seed is 'x': expected a whole number"),
        ({"name": "clevr-change", "root": "r", "pairs": "x"}, "pairs is 'x': expected 'both', 'semantic'"),
        ({"name": "clevr-change"}, "root is missing"),
        ({"root": "x"}, "expected a name"),
        ("no.such.module:Thing", "cannot be imported: ModuleNotFoundError: No module named 'no'"),
        ("idc_data.layout:Nothing", "cannot be imported"),
    ],
)
def test_mistakes_are_answered_before_anything_is_opened(dataset, message):
    with pytest.raises(ValueError) as caught:
        open_reader(dataset, "train")
    assert message in str(caught.value)


def test_a_file_or_a_misspelt_folder_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("before,after")
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="'pairs.csv'.*file.*folder"):
        resolve_reader("pairs.csv")
    with pytest.raises(ValueError, match="there is no such folder; did you mean 'photos'"):
        resolve_reader("photo")


def test_limits_of_settings_are_checked():
    with pytest.raises(ValueError, match="'scenes': val_pairs is 0: .*1"):
        resolve_reader({"name": "scenes", "val_pairs": 0})
