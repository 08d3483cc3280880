import pytest
from idc_data.tokenizer import Tokenizer

CAPTIONS = ["the red ball moved", "The large red ball, that is left of the cube, is gone.", "there's no left-hand cube"]


@pytest.fixture
def tokenizer():
    return Tokenizer.train(CAPTIONS, max_length=20)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_round_trip(tokenizer, caption):
    ids = tokenizer.encode(caption)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids) == caption.lower()


def test_ids_are_fixed_by_the_captions(tokenizer):
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert tokenizer.encode("the")[1] == 4  # the most frequent word
    assert Tokenizer.train(reversed(CAPTIONS), max_length=20).to_json() == tokenizer.to_json()
    assert max(max(tokenizer.encode(caption)) for caption in CAPTIONS) == tokenizer.size - 1


def test_a_long_caption_keeps_its_end():
    tokenizer = Tokenizer.train(CAPTIONS, max_length=5)
    assert len(tokenizer.encode(CAPTIONS[1])) == 5
    assert tokenizer.encode(CAPTIONS[1])[-1] == tokenizer.eos_id
    assert tokenizer.decode(tokenizer.encode(CAPTIONS[1])) == "the large red"


def test_rare_and_unknown_words():
    tokenizer = Tokenizer.train(CAPTIONS, max_length=20, min_frequency=2)
    assert tokenizer.decode(tokenizer.encode("the large ball")) == "the ball"
    assert tokenizer.encode("zebra") == [1, 3, 2]
    assert tokenizer.encode("") == [1, 2] and tokenizer.decode([1, 2]) == ""


def test_text_never_becomes_a_special_token(tokenizer):
    assert tokenizer.encode("<eos> <pad>").count(tokenizer.eos_id) == 1
    assert tokenizer.pad_id not in tokenizer.encode("<eos> <pad>")


def test_decoding_stops_at_the_end(tokenizer):
    ids = tokenizer.encode("the ball moved")
    assert tokenizer.decode([*ids, *tokenizer.encode("cube"), 0, 0]) == "the ball moved"


def test_saving_keeps_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.size, loaded.max_length) == (tokenizer.size, 20)
    assert loaded.encode(CAPTIONS[1]) == tokenizer.encode(CAPTIONS[1])
    assert loaded.decode(loaded.encode(CAPTIONS[1])) == CAPTIONS[1].lower()
    assert loaded.to_json() == tokenizer.to_json()


def test_mistakes(tokenizer):
    with pytest.raises(ValueError, match="at least 3"):
        Tokenizer.train(CAPTIONS, max_length=2)
    with pytest.raises(ValueError, match="expected captions"):
        Tokenizer.train([], max_length=9)
    with pytest.raises(ValueError, match="not a tokenizer's JSON"):
        Tokenizer.from_json("{}")
    with pytest.raises(ValueError, match="special ids"):
        Tokenizer.from_json(tokenizer.to_json().replace("<bos>", "[CLS]"))
