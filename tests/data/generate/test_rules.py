import pytest
from idc_data.generate.rules import difference, phrases

BROWN_DOG = "the brown dog is now white, the sofa is gone and a cat has appeared"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a brown dog on a sofa", ["brown dog", "sofa"]),
        ("Two white cats sitting next to the large window.", ["two white cats", "large window"]),
        ("a tall building in the evening", ["tall building", "evening"]),
        ("a dog and a dog", ["dog"]),
        ("", []),
    ],
)
def test_noun_phrases(caption, expected):
    assert [str(phrase) for phrase in phrases(caption)] == expected


@pytest.mark.parametrize(
    ("before", "after", "expected", "kind"),
    [
        ("a dog on a sofa", "a dog on a sofa", "nothing has changed", "none"),
        ("a dog on a sofa", "a cat on a sofa", "the dog has been replaced by a cat", "replace"),
        ("a dog on a sofa", "a dog", "the sofa is gone", "drop"),
        ("a dog", "a dog beside an old car", "an old car has appeared", "add"),
        ("a brown dog", "a white dog", "the brown dog is now white", "attribute"),
        ("a big brown dog", "a brown dog", "the big brown dog is no longer big", "attribute"),
        ("an Egyptian cat", "a tiger cat", "the egyptian cat has been replaced by a tiger cat", "replace"),
        ("a brown dog", "a brown and white dog", "the brown dog is now brown and white", "attribute"),
        ("a black and white dog", "a white dog", "the black and white dog is no longer black", "attribute"),
        ("a dog and a cat", "a dog", "the cat is gone", "drop"),
        ("a painted door", "a door", "the painted door is no longer painted", "attribute"),
        ("two dogs on grass", "grass", "the two dogs are gone", "drop"),
        ("a dog sitting on grass", "a dog running on grass", "now there is a dog running on grass", "other"),
        ("a brown dog on a sofa", "a white dog by a cat", BROWN_DOG, "other"),
    ],
)
def test_differences(before, after, expected, kind):
    said, found = difference(before, after)
    assert (said[0], found) == (expected, kind)
    assert len(set(said)) == len(said) and all(text.strip() for text in said)


def test_three_wordings_say_the_same_in_other_words():
    said, _ = difference("a dog on a sofa", "a cat on a sofa")
    assert said == [
        "the dog has been replaced by a cat",
        "the dog is gone and a cat has appeared",
        "there is now a cat instead of the dog",
    ]
