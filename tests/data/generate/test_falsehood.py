"""Checks that see false sentences by the captions alone."""

import json
from pathlib import Path

import pytest
from idc_data.audit import read_verdicts
from idc_data.generate.falsehood import CHECKS, Statement, stem
from idc_data.generate.filters import Filters
from idc_data.generate.rules import difference

VERDICTS = Path(__file__).parents[3] / "benchmarks" / "verdicts"
DOG_CAT = ("a brown dog on a sofa", "a white cat on a sofa")


def objections(text, kind="other", captions=DOG_CAT):
    statement = Statement(text, kind, captions[:1], captions[1:])
    return [name for name, check in CHECKS.items() if check(statement)]


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("the brown dog has been replaced by a white cat", "replace", []),
        ("the brown dog on the sofa is gone and a white cat has appeared", "other", []),
        ("there is now a cat instead of the dog", "replace", []),
        ("a white cat is sitting on the sofa where the dog was", "other", ["invented"]),
        ("the dog has been replaced by a parrot", "replace", ["invented"]),
        ("a brown dog on a sofa", "other", ["repeats"]),
        ("the white cat is on the sofa", "add", ["repeats"]),
        ("the white cat has been replaced by a brown dog", "replace", ["reversed"]),
        ("the cat is gone", "drop", ["reversed"]),
        ("a brown dog has appeared", "add", ["reversed"]),
        ("there is now a dog instead of the cat", "replace", ["reversed"]),
        ("the animal changed from a cat to a dog", "replace", ["invented", "reversed"]),
        ("the sofa is gone", "drop", ["shared"]),
        ("the sofa has been replaced by a sofa", "replace", ["shared"]),
        ("a sofa has appeared", "add", ["shared"]),
        ("the sofa is now a sofa", "attribute", ["shared"]),
        ("the sofa is now a sofa instead of a sofa", "other", ["shared"]),
        ("the cat on the sofa is now on the sofa", "other", ["reversed", "shared"]),
        ("the brown dog is now a white cat", "none", ["mistyped"]),
        ("the brown dog is gone", "add", ["mistyped"]),
        ("a white cat has appeared", "drop", ["mistyped"]),
        ("the brown dog has been replaced by a white cat", "none", ["mistyped"]),
        ("nothing has changed", "add", ["mistyped"]),
    ],
)
def test_each_check_sees_its_kind_of_mistake(text, kind, expected):
    assert objections(text, kind) == expected


@pytest.mark.parametrize(
    "captions",
    [
        DOG_CAT,
        ("a dog on a sofa", "a dog on a sofa"),
        ("a dog beside an old car", "a dog"),
        ("a brown dog", "a white dog"),
        ("a big brown dog", "a brown dog"),
        ("two dogs on grass", "grass"),
        ("a dog sitting on grass", "a dog running on grass"),
        ("a painted door", "a door"),
    ],
)
def test_what_rules_writes_passes(captions):
    texts, kind = difference(*captions)
    assert {text: objections(text, kind, captions) for text in texts} == {text: [] for text in texts}


def test_an_attribute_of_what_both_show_may_change():
    captions = ("a red car on a street", "a blue car on a street")
    assert objections("the car is now blue", "attribute", captions) == []
    assert objections("the car changed from red to blue", "attribute", captions) == []
    assert objections("the car is now red", "attribute", captions) == ["reversed"]


@pytest.mark.parametrize(
    ("words", "same"), [("sitting sit sits", "sit"), ("dogs dog dog's", "dog"), ("parked parking park", "park")]
)
def test_words_are_compared_by_their_stems(words, same):
    assert {stem(word) for word in words.split()} == {same}


def test_checks_are_switched_by_name_and_their_yield_is_reported():
    from idc_data.generate.difference import Captioned

    pairs = [{"pair": str(n), "similarity": None} for n in range(3)]
    texts = [Captioned("b", "a", ("b", "a"), DOG_CAT[:1], DOG_CAT[1:])] * 3
    said = ("the dog has been replaced by a cat", "the cat is gone", "the dog has been replaced by a parrot")
    rows = [
        {"references": [text], "change_type": "other", "confidence": None, "rejected": None, "from_captions": True}
        for text in said
    ]
    filtered, notes = Filters()(pairs, texts, rows, None)
    reasons = [None, "before and after reversed", "word that no caption has"]
    assert [row["reason"] for row in filtered] == reasons
    assert notes["objections"] == {"invented": 1, "repeats": 0, "reversed": 1, "shared": 0, "mistyped": 0}
    filtered, notes = Filters(checks=("reversed",))(pairs, texts, rows, None)
    assert [row["reason"] for row in filtered] == [None, reasons[1], None] and notes["objections"] == {"reversed": 1}
    seen = [{**row, "from_captions": False} for row in rows]
    assert all(not row["reason"] for row in Filters()(pairs, texts, seen, None)[0]), "a model that saw the images"


def test_of_the_sentences_that_a_reader_judged_few_true_ones_are_objected_to():
    rows = [json.loads(line) for line in (VERDICTS / "captions.jsonl").read_text().splitlines()]
    captions = {row["id"]: row for row in rows}
    told = {"accept": [], "reject": []}
    for file in VERDICTS.glob("*.json"):
        for name, verdict in read_verdicts(file).items():
            row = captions[name]
            found = objections(verdict.written[0], row["change_type"], (row["before"], row["after"]))
            told[verdict.verdict].append(bool(found))
    assert len(rows) >= 150 and sum(told["accept"]) <= 0.05 * len(told["accept"])
    assert sum(told["reject"]) >= 0.6 * len(told["reject"])
