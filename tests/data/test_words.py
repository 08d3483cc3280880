"""Captions come back as they were written: numbers and times whole, Chinese by the character."""

import unicodedata

import pytest
from idc_data.scenes import Scenes
from idc_data.tokenizers import read_tokenizer, write_tokenizer
from idc_data.tokenizers.words import Words
from idc_data.tokenizers.words import normal as normalised
from idc_data.words import CURRENT, FIRST, columns, pieces, split, wrap
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

WHOLE = [
    "from 3.50 to 1,000.99 at 10:30",
    "the price went from 1.50 to 2,000.99 at 01:30 (50% off)",
    "-3 and 2.5% or 1/2, e.g. this one.",
    'at 5 p.m. the sign "STOP" fell',
    "between 2-3 and $5.99, on 12/05/2020: ½ or 30°C; it ends at 3.5.",
    "a red/blue ball, left-hand; don't!",
    "il cane dell'uomo è sparito",
    "¿dónde está? [aquí]",
    "中间的停车场移动了，右侧的3辆车不见了。",
    "ボールが左から右へ動いた。",
    "나무가 왼쪽에서 사라졌다.",
    "แมวนั่งอยู่ทางซ้าย",
    "ឆ្កែនៅខាងឆ្វេង",
    "हिन्दी में बच्चा है।",
    "خانه‌ها ناپدید شد، نه",
]


@pytest.mark.parametrize("caption", WHOLE)
def test_a_caption_comes_back_as_it_was(caption):
    tokenizer = Words.train([caption], max_length=60)
    ids = tokenizer.encode(caption)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFKC", caption).lower()
    assert tokenizer.decode(ids[1:]) == tokenizer.decode(ids)  # as a model writes it
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


@pytest.mark.parametrize("caption", [*WHOLE, "ΟΔΟΣ Σ", "İstanbul", "ﬁve ½ Ⓐ 🅐 a‿b नि"])
def test_python_splits_as_the_library_does_that_older_files_come_from(caption):
    normal = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]).normalize_str(caption)
    for pattern in (FIRST, CURRENT):
        theirs = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True).pre_tokenize_str(normal)
        assert split(normalised(caption), pattern) == [word for word, _ in theirs]


def words(caption):
    tokenizer = Words.train([caption], max_length=60)
    return [tokenizer.decode([number]) for number in tokenizer.encode(caption)[1:-1]]


def test_scripts_without_blanks_are_words_by_character():
    assert words("停车场不见了 car 3.5") == [*"停车场不见了", "car", "3.5"]
    assert words("が動いた") == [*"が動いた"]
    assert words("นั่ง") == ["นั่", "ง"]  # a letter with its signs
    assert words("나무가 있다") == ["나무가", "있다"]  # Korean has blanks


def test_a_chinese_caption_shares_its_words_with_others():
    tokenizer = Words.train(["左侧的树消失了", "右侧的房子出现了"], max_length=40)
    assert tokenizer.unk_id not in tokenizer.encode("左侧的房子消失了")


def old(caption):
    """A tokenizer as checkpoints of the first version hold it."""
    splits = pre_tokenizers.Split(Regex(FIRST), behavior="removed", invert=True)
    found = [word for word, _ in splits.pre_tokenize_str(caption)]
    inner = Tokenizer(
        models.WordLevel(
            {w: n for n, w in enumerate(dict.fromkeys(("<pad>", "<bos>", "<eos>", "<unk>", *found)))}, "<unk>"
        )
    )
    inner.pre_tokenizer = splits
    inner.enable_truncation(40)
    return inner.to_str()


def test_a_tokenizer_of_the_first_version_splits_and_joins_as_it_did():
    caption = "at 10:30 (50% off), the 中间 moved"
    text = old(caption)
    tokenizer = read_tokenizer(text)
    assert tokenizer.decode(tokenizer.encode(caption)) == "at 10: 30 ( 50 % off ), the 中间 moved"
    assert tokenizer.encode("at 10: 30 ( 50 % off ), the 中间 moved") == tokenizer.encode(caption)
    assert write_tokenizer(read_tokenizer(write_tokenizer(tokenizer))) == write_tokenizer(tokenizer)


def test_plain_captions_split_as_in_the_first_version():
    first, current = (pre_tokenizers.Split(Regex(p), behavior="removed", invert=True) for p in (FIRST, CURRENT))
    captions = [*Scenes("train").captions(300), "there's no left-hand cube: it's <eos>, gone!", "two (or 3) dogs' toys"]
    assert [first.pre_tokenize_str(c) for c in captions] == [current.pre_tokenize_str(c) for c in captions]


def test_lines_end_at_blanks_and_between_characters():
    assert pieces("the red ball 停车场，了 นั่ง.") == ["the ", "red ", "ball ", "停", "车", "场，", "了 ", "นั่", "ง."]
    assert "".join(pieces("a ่ b")) == "a ่ b"


def test_lines_end_after_blanks_and_between_chinese_characters():
    assert wrap("the red ball\n was  moved", 12) == ["the red ball", "was moved"]
    assert wrap("a 左侧的停车场，了", 10) == ["a 左侧的停", "车场，了"]
    assert wrap("a " + "x" * 7, 3) == ["a", "xxx", "xxx", "x"]
    assert wrap("", 3) == [""] and wrap("abc", 0) == ["a", "b", "c"]
    assert wrap("one two", 3, measure=lambda text: len(text) / 2) == ["one", "two"]
    assert columns("a左b") == 4 and columns("e\u0301") == 1
