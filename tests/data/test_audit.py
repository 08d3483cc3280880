import base64
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from idc_data import Folder
from idc_data.audit import Verdict, add_verdicts, apply_verdicts, audit_page, read_verdicts, summary
from idc_data.check import check_dataset
from idc_data.cli import main
from PIL import Image


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "scenes"
    ended = CliRunner().invoke(main, ["scenes", str(folder), "--num", "4", "--size", "32"])
    assert ended.exit_code == 0, ended.output
    (folder / "README.md").write_text("# scenes\n")
    return folder


def shown(page):
    """The data that the page's script begins with."""
    return json.loads(re.search(r"^const data = (.*);$", page, re.M)[1])


def verdict(dataset, at, kind, references=()):
    pair = Folder("test", root=dataset)[at]
    return {pair.id: Verdict(verdict=kind, written=pair.references, references=references)}


def test_the_page_holds_pairs_of_all_splits_and_all_that_it_needs(dataset):
    page, count = audit_page(dataset, 100)
    assert count == 12 and "src=" not in page.partition("<script>")[0], "nothing is loaded from elsewhere"
    pairs = shown(page)["pairs"]
    assert {pair["split"] for pair in pairs} == {"train", "val", "test"}
    assert all(pair["before"].startswith("data:image/webp;base64,") for pair in pairs)
    assert audit_page(dataset, 5)[1] == 5


def test_a_caption_cannot_break_out_of_the_page(dataset):
    metadata = dataset / "test" / "metadata.jsonl"
    rows = [json.loads(line) for line in metadata.read_text().splitlines()]
    rows[0]["references"] = ["</script><script>alert(1)</script>"]
    metadata.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page, _ = audit_page(dataset, 100)
    assert "alert(1)" in page and "</script><script>" not in page


def test_verdicts_change_the_dataset_and_are_kept(dataset):
    before = Folder("test", root=dataset)
    given = {
        **verdict(dataset, 0, "accept"),
        **verdict(dataset, 1, "reject"),
        **verdict(dataset, 2, "correct", ("the cube left",)),
    }
    said = str(add_verdicts(dataset, given))
    assert said.startswith("3 pairs judged by people: 1 accepted, 1 corrected, 1 rejected; right as written: 33% (95 %")
    after = Folder("test", root=dataset)
    assert [pair.id for pair in after] == [before[at].id for at in (0, 2, 3)]
    assert after[1].references == ("the cube left",) and after[0].references == before[0].references
    assert [(pair.provenance or {}).get("audit") for pair in after] == ["accepted", "corrected", None]
    assert len(list((dataset / "test").glob("*.png"))) == 6 and not check_dataset(dataset)
    assert "## Audit\n\n3 pairs judged" in (dataset / "README.md").read_text()
    assert shown(audit_page(dataset, 100)[0])["pairs"].__len__() == 9, "nobody is asked twice"
    add_verdicts(dataset, verdict(dataset, 2, "accept"))
    assert len(read_verdicts(dataset / "audit.json")) == 4
    assert (dataset / "README.md").read_text().count("## Audit") == 1


def test_a_dataset_that_is_made_anew_gets_its_verdicts_again(dataset, tmp_path):
    add_verdicts(dataset, verdict(dataset, 1, "reject"))
    once = (dataset / "test" / "metadata.jsonl").read_bytes()
    CliRunner().invoke(main, ["scenes", str(dataset), "--num", "4", "--size", "32", "--overwrite"])
    assert len(Folder("test", root=dataset)) == 4
    assert apply_verdicts(dataset) == 1 and (dataset / "test" / "metadata.jsonl").read_bytes() == once
    # Of other captions nobody has said anything.
    metadata = dataset / "val" / "metadata.jsonl"
    pair = Folder("val", root=dataset)[0]
    add_verdicts(dataset, {pair.id: Verdict(verdict="reject", written=("something else",))})
    assert pair.id in metadata.read_text()


def test_the_interval_is_wilsons():
    given = {str(n): Verdict(verdict="accept" if n < 87 else "reject", written=("x",)) for n in range(100)}
    counted = summary(given)
    assert (round(counted.low, 4), round(counted.high, 4)) == (0.7902, 0.9224)


def test_a_split_is_not_emptied(dataset):
    everything = {}
    for at in range(4):
        everything |= verdict(dataset, at, "reject")
    with pytest.raises(ValueError, match="every pair of test is rejected"):
        add_verdicts(dataset, everything)
    assert len(Folder("test", root=dataset)) == 4 and not (dataset / "audit.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "has no verdicts"),
        ("[1]", "is not a file saved by the audit page"),
        ('{"a": {"verdict": "maybe", "written": ["x"]}}', "a.verdict is 'maybe': expected 'accept'"),
        ('{"a": {"verdict": "accept", "written": ["x"]}}', "another dataset's audit"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(dataset, tmp_path, content, message):
    (tmp_path / "given.json").write_text(content)
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    ended = CliRunner().invoke(main, ["audit", str(dataset), "--apply", str(tmp_path / "given.json")])
    assert ended.exit_code == 2 and message in ended.output and len(ended.output.splitlines()) == 1
    assert {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()} == before


def test_the_command_writes_a_page(dataset, tmp_path):
    out = tmp_path / "page.html"
    ended = CliRunner().invoke(main, ["audit", str(dataset), "--num", "3", "--out", str(out)])
    assert ended.exit_code == 0 and "3 pairs to judge" in ended.output and out.is_file()


def test_an_image_that_another_pair_names_in_another_way_stays(dataset):
    metadata = dataset / "test" / "metadata.jsonl"
    rows = [json.loads(line) for line in metadata.read_text().splitlines()]
    shared = rows[1]["before_file_name"]
    rows[0]["before_file_name"] = f"./{shared}"
    metadata.write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_verdicts(dataset, verdict(dataset, 1, "reject"))
    assert (dataset / "test" / shared).is_file() and len(Folder("test", root=dataset)) == 3


def test_images_of_16_bits_are_shown_scaled_alike(dataset):
    pair = Folder("test", root=dataset)[0]
    before = np.full((64, 64), 1000, np.uint16)
    after = before.copy()
    after[:8, :8] = 5000
    for path, values in ((pair.before, before), (pair.after, after)):
        Image.fromarray(values).save(path)
    (found,) = (each for each in shown(audit_page(dataset, 100)[0])["pairs"] if each["id"] == pair.id)
    sides = (io.BytesIO(base64.b64decode(found[side].partition(",")[2])) for side in ("before", "after"))
    first, second = (np.asarray(Image.open(side)).astype(int) for side in sides)
    assert abs(first[32:] - second[32:]).max() < 8
