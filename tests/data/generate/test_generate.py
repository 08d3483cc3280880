import json

import pytest
from click.testing import CliRunner
from idc_data import Folder
from idc_data.check import check_dataset
from idc_data.cli import main

SPEC = """\
name: try
tracking: off
out: out
collect: {{name: folder, root: {photos}}}
pair: {{name: similar, embedding: thumbnail, low: 0.5, high: 0.9999}}
caption: {{name: given, file: {captions}}}
difference: rules
split: {{val: 0.34, test: 0.34}}
image_size: 32
"""


@pytest.fixture
def spec(tmp_path, monkeypatch, photos, captions):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "try.yaml"
    path.write_text(SPEC.format(photos=photos, captions=captions))
    return path


def generate(spec, *overrides, code=0, flags=()):
    given = [part for override in overrides for part in ("-s", override)]
    ended = CliRunner().invoke(main, ["generate", str(spec), *given, *flags])
    assert ended.exit_code == code, ended.output
    return ended.output


def dataset(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("*/*") if ".stages" not in path.parts}


def test_photos_become_a_dataset(spec, tmp_path):
    said = generate(spec)
    assert "broken files: broken.jpg (1 in all)" in said and "view it: idc-data show out" in said
    assert not check_dataset(tmp_path / "out")
    splits = [Folder(split, root=tmp_path / "out") for split in ("train", "val", "test")]
    assert sum(map(len, splits)) > 6 and all(len(pairs) for pairs in splits)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| filter | `standard`" in card and "reasons: kept" in card and "## Samples" in card
    assert "the hat is gone" in card or "a hat has appeared" in card
    assert str(tmp_path) not in card and "root photos" in card and "file captions.json" in card


def test_a_second_time_nothing_is_made_again_and_the_result_is_the_same(spec, tmp_path):
    generate(spec)
    first = dataset(tmp_path / "out")
    assert generate(spec).count("as before") == 5
    assert dataset(tmp_path / "out") == first
    assert generate(spec, "difference={name: rules, references: 1}").count("as before") == 3
    assert generate(spec, "pair.per_image=1").count("as before") == 2, "images, and their captions"


def test_a_file_that_changed_is_seen_and_what_is_rejected_is_kept(spec, captions, tmp_path):
    generate(spec)
    said = json.loads(captions.read_text())
    captions.write_text(json.dumps({path: f"{caption} with a bird" for path, caption in said.items()}))
    assert generate(spec, "filter.blocklist=[hat]").count("as before") == 2
    rows = [json.loads(line) for line in (tmp_path / "out/.stages/rejected.jsonl").read_text().splitlines()]
    assert rows and {row["reason"] for row in rows} == {"blocked word"}
    assert all("hat" in row["written"][0] and row["before"] != row["after"] for row in rows)


def test_a_dry_run_asks_nobody(spec, tmp_path):
    said = generate(spec, "caption={name: blip, model: no/such/model}", flags=["--dry-run"])
    assert "to do: caption 12 images" in said and not (tmp_path / "out" / "train").exists()
    assert "problem    model 'no/such/model' cannot be used" in said


def test_a_dry_run_counts_every_pair(spec, captions, photos):
    captions.write_text(json.dumps({path.name: f"a dog number {path.stem}" for path in photos.glob("?_?.png")}))
    said = generate(spec, "difference={name: openai, model: m, price_in: 1}", flags=["--dry-run"])
    pairs = said.partition("write ")[2].partition(" differences")[0]
    assert int(pairs) > 6 and f"difference {pairs} questions and at most {pairs} repairs" in said and "cost" in said
    assert "First image: a dog number " in said, "captions are known"


PLUGIN = """
from idc_data.generate.difference import Difference

class Short:
    def __init__(self, *, verb: str = "became"):
        self._verb = verb
    def to_ask(self, pairs):
        return []
    def __call__(self, pairs, asking):
        return [self.write(pair.before_captions[0], pair.after_captions[0]) for pair in pairs]
    def write(self, before, after):
        return Difference(references=(f"{before} {self._verb} {after}",), change_type="other")
"""


@pytest.mark.slow
def test_a_writer_may_lie_beside_the_spec_and_is_asked_again_when_it_changes(tmp_path, photos, captions):
    (tmp_path / "specs").mkdir()
    spec = tmp_path / "specs" / "try.yaml"
    spec.write_text(SPEC.format(photos=photos, captions=captions).replace("out: out", f"out: {tmp_path / 'out'}"))
    (tmp_path / "specs" / "short_writer.py").write_text(PLUGIN)
    mine = ("difference=short_writer:Short", "filter.checks=[]")
    generate(spec, *mine)
    pairs = [pair for split in ("train", "val", "test") for pair in Folder(split, root=tmp_path / "out")]
    assert any("sofa became a brown dog" in pair.references[0] for pair in pairs)
    (tmp_path / "specs" / "short_writer.py").write_text(PLUGIN + "# better")
    assert generate(spec, *mine).count("as before") == 3


@pytest.mark.slow
def test_with_blip_and_llama_classes(spec, blip, llama, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    caption = f"caption={{name: blip, model: {blip}, batch_size: 5, beam: 2, max_new_tokens: 6}}"
    said = generate(spec, caption, "difference={name: rules}", "filter={name: standard, min_words: 1}")
    assert "asked of a model: 12" in said
    # Random weights do not answer in JSON: everything is asked once more, rejected, and kept for people to read.
    chat = f"difference={{name: llm, model: {llama}, batch_size: 4, max_new_tokens: 8}}"
    ended = generate(spec, caption, chat, code=2)
    assert "the filters kept none" in ended and "unreadable answer" in ended
    generate(spec, caption, chat, code=2)  # answers and stages are there, so that no model is loaded


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pair=similr", "did you mean 'similar'"),
        ("pair.lo=0.1", "pair 'similar': unknown setting 'lo'; did you mean 'low'"),
        ("collect.root=nowhere", "no folder 'nowhere'"),
        ("caption.file=nowhere.json", "no file 'nowhere.json'"),
        ("outt=x", "unknown key 'outt'; did you mean 'out'"),
        ("pair.low=0.99999", "expected low < high"),
        ("pair.high=0.51", "no two images make a pair"),
        ("split.val=2", "less than 1"),
    ],
)
def test_mistakes_are_one_line(spec, override, message):
    said = generate(spec, override, code=2)
    assert message in said and len(said.strip().splitlines()) <= 4
