import json

import pytest
from click.testing import CliRunner
from idc_data import Folder
from idc_data.check import check_dataset
from idc_data.cli import main
from idc_data.generate.answer import read_answer

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


def test_a_second_time_nothing_is_made_again_and_the_result_is_the_same(spec, tmp_path):
    generate(spec)
    first = dataset(tmp_path / "out")
    assert generate(spec).count("as before") == 5
    assert dataset(tmp_path / "out") == first
    assert generate(spec, "difference={name: rules, references: 1}").count("as before") == 3
    assert generate(spec, "pair.per_image=1").count("as before") == 2, "images, and their captions"


def test_a_file_that_changed_is_seen(spec, captions):
    generate(spec)
    said = json.loads(captions.read_text())
    captions.write_text(json.dumps({path: f"{caption} with a bird" for path, caption in said.items()}))
    assert generate(spec).count("as before") == 2


def test_a_dry_run_asks_nobody(spec, tmp_path):
    said = generate(spec, "caption={name: blip, model: no/such/model}", flags=["--dry-run"])
    assert "to do: caption 12 images" in said and not (tmp_path / "out" / "train").exists()


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
    ("text", "expected"),
    [
        ('{"caption": "the dog is gone", "change_type": "drop", "confidence": 0.9}', None),
        ('Sure! ```json\n{"caption": "the dog is gone", "change_type": "drop", "confidence": 1}\n```', None),
        ("the dog is gone", "no JSON object"),
        ('{"caption": "the dog is gone", "change_type": "dropped", "confidence": 1}', "change_type"),
        ('{"caption": "the dog is gone", "change_type": "drop"}', "confidence"),
        ('{"caption": ', "no JSON object"),
    ],
)
def test_answers_are_read(text, expected):
    read = read_answer(text)
    assert expected in read if expected else read.caption == "the dog is gone"


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
