"""METEOR's table of paraphrases, cut down to the words at hand."""

import gzip

import pytest
from idc_eval.paraphrases import Paraphrases, words_of
from pycocoevalcap.meteor import meteor as coco_meteor

PAIRS = [("in the car", "by car"), ("car", "vehicle"), ("café", "car"), ("no one", "nobody"), ("one", "1")]


def as_table(pairs) -> str:
    return "".join(f"0.{number}\n{first}\n{second}\n" for number, (first, second) in enumerate(pairs, start=1))


def read_pairs(path) -> list[tuple[str, str]]:
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    assert lines.pop() == ""
    assert all(float(line) for line in lines[::3])
    return [(first.strip(), second.strip()) for first, second in zip(lines[1::3], lines[2::3], strict=True)]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """METEOR's data folder and the cache, both of this test alone."""
    monkeypatch.setattr(coco_meteor, "__file__", str(tmp_path / "meteor.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "data" / "paraphrase-en.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(as_table(PAIRS).encode()))
    return path


@pytest.mark.parametrize(
    ("known", "kept"),
    [
        ("the vehicle in a car", [("car", "vehicle"), ("café", "car")]),
        ("in the by car", [("in the car", "by car"), ("café", "car")]),
        ("nobody no one 1", [("no one", "nobody"), ("one", "1")]),
        ("", []),
    ],
)
def test_only_pairs_of_known_words_are_kept(source, tmp_path, known, kept):
    target = tmp_path / "some.gz"
    Paraphrases.load().write(known.split(), target)
    assert read_pairs(target) == kept


def test_all_are_kept_where_all_words_are_known(source, tmp_path):
    target = tmp_path / "all.gz"
    paraphrases = Paraphrases.read(source)
    paraphrases.write(paraphrases.words, target)
    assert read_pairs(target) == PAIRS


def test_a_table_of_any_length_is_read_whole(source, tmp_path):
    pairs = [(f"word{n} of many", f"w{n} " * (n % 7) + "last") for n in range(30_000)]
    source.write_bytes(gzip.compress(as_table(pairs * 4).encode()))
    paraphrases = Paraphrases.read(source)
    paraphrases.write(paraphrases.words, tmp_path / "all.gz")
    assert read_pairs(tmp_path / "all.gz") == pairs * 4


def test_the_cache_is_used_and_made_again_where_it_is_broken(source, tmp_path):
    first = Paraphrases.load()
    (cache,) = (tmp_path / "cache" / "idc-eval").iterdir()
    whole = cache.read_bytes()
    size = source.stat().st_size
    source.write_bytes(b"0" * size)  # not read: it would fail
    assert Paraphrases.load().words == first.words
    source.write_bytes(gzip.compress(as_table(PAIRS).encode()))
    for broken in (b"", whole[:100], b"PK" + whole[2:50], whole[: len(whole) // 2]):
        cache.write_bytes(broken)
        assert Paraphrases.load().words == first.words
        assert cache.stat().st_size == len(whole)
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_a_cache_that_cannot_be_written_is_done_without(source, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "folder"))
    assert "vehicle" in Paraphrases.load().vocabulary


def test_words_are_what_is_left_when_meteor_takes_signs_away():
    assert words_of(["The t-shirt's", "is n't 1,000 a|b"]) == {
        "the",
        "t",
        "shirt",
        "s",
        "is",
        "n",
        "1",
        "000",
        "a",
        "b",
    }
