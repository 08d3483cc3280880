"""Replies of language models, as small ones write them."""

import pytest
from idc_data.generate.answer import answer_schema, read_answer

GOOD = '{"caption": "the dog is gone", "change_type": "drop", "confidence": 0.9}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"Sure! ```json\n{GOOD}\n```",
        f"{GOOD}\n{GOOD}",
        f"{GOOD}\nNote: a {{dog}} is an animal.",
        '{"caption": "the dog is gone", "change_type": "drop", "confidence": 0.9,}',
        '{"caption": "the dog is gone", "change_type": "drop", "paraphrases": ["no dog",], "confidence": 0.9}',
        GOOD.replace("drop", "Drop"),
        GOOD.replace("drop", "remove"),
        GOOD.replace("drop", "REMOVED"),
        GOOD.replace("0.9", '"high"'),
        GOOD.replace("0.9", "90"),
        GOOD.replace("0.9", '"90%"'),
        GOOD.replace("0.9", '"0.9"'),
    ],
)
def test_what_is_plainly_usable_is_read(text):
    read = read_answer(text)
    assert (read.caption, read.change_type, read.confidence) == ("the dog is gone", "drop", 0.9)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("the dog is gone", "no JSON object"),
        ('{"caption": ', "no complete JSON object"),
        (GOOD.replace("drop", "vanish-ish"), "change_type"),
        (GOOD.replace("0.9", '"rather"'), "confidence"),
        (GOOD.replace("0.9", "900"), "confidence"),
        (GOOD.replace("0.9", "-0.1"), "confidence"),
        (GOOD.replace("the dog is gone", ""), "caption"),
        ('{"caption": "the dog is gone", "change_type": "drop"}', "confidence"),
    ],
)
def test_the_problem_of_another_reply_is_named(text, problem):
    assert problem in read_answer(text)


@pytest.mark.parametrize(
    ("word", "kind"),
    [("added", "add"), ("color", "attribute"), ("No change", "none"), ("swapped", "replace"), ("moved", "other")],
)
def test_synonyms_of_change_types(word, kind):
    assert read_answer(GOOD.replace("drop", word)).change_type == kind


def test_paraphrases_are_counted():
    whole = GOOD.replace("}", ', "paraphrases": ["no dog any more", "the dog left"]}')
    assert len(read_answer(whole, 3).paraphrases) == 2
    assert "paraphrases: expected 3, got 2" in read_answer(whole, 4)


def test_the_schema_bounds_texts_and_lists():
    one, three = answer_schema(1), answer_schema(3)
    assert "paraphrases" not in one["properties"] and one["properties"]["caption"]["maxLength"] > 40
    listed = three["properties"]["paraphrases"]
    assert listed["minItems"] == listed["maxItems"] == 2 and listed["items"]["maxLength"]
    assert set(three["required"]) == set(three["properties"]) and not three["additionalProperties"]
