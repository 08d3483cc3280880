"""Captions become ids and plain text again, whatever the tokenizer, and however it was stored."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from idc_data.spec import DataSpec
from idc_data.tokenizers import make_tokenizer, read_tokenizer, resolve_tokenizer, tokenizer_name, write_tokenizer
from idc_data.tokenizers.base import Tokenizer
from idc_data.tokenizers.hf import HuggingFace
from idc_data.tokenizers.words import Words
from tokenizers import Tokenizer as Inner

CAPTIONS = ["the red ball moved", "The large red ball, that is left of the cube, is gone.", "there's no left-hand cube"]


@pytest.fixture
def tokenizer():
    return Words.train(CAPTIONS, max_length=20)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_round_trip(tokenizer, caption):
    ids = tokenizer.encode(caption)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids) == caption.lower()


def test_ids_are_fixed_by_the_captions(tokenizer):
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert tokenizer.encode("the")[1] == 4  # the most frequent word
    assert write_tokenizer(Words.train(reversed(CAPTIONS), 20)) == write_tokenizer(tokenizer)
    assert max(max(tokenizer.encode(caption)) for caption in CAPTIONS) == tokenizer.size - 1


def test_a_long_caption_keeps_its_end():
    tokenizer = Words.train(CAPTIONS, max_length=5)
    assert len(tokenizer.encode(CAPTIONS[1])) == 5
    assert tokenizer.encode(CAPTIONS[1])[-1] == tokenizer.eos_id
    assert tokenizer.decode(tokenizer.encode(CAPTIONS[1])) == "the large red"


def test_rare_and_unknown_words():
    tokenizer = Words.train(CAPTIONS, max_length=20, min_frequency=2)
    assert tokenizer.decode(tokenizer.encode("the large ball")) == "the ball"
    assert tokenizer.encode("zebra") == [1, 3, 2]
    assert tokenizer.encode("") == [1, 2] and tokenizer.decode([1, 2]) == ""


def test_text_never_becomes_a_special_token(tokenizer):
    assert tokenizer.encode("<eos> <pad>").count(tokenizer.eos_id) == 1
    assert tokenizer.pad_id not in tokenizer.encode("<eos> <pad>")


def test_decoding_stops_at_the_end(tokenizer):
    ids = tokenizer.encode("the ball moved")
    assert tokenizer.decode([*ids, *tokenizer.encode("cube"), 0, 0]) == "the ball moved"


def test_mistakes_of_words():
    with pytest.raises(ValueError, match="max_length is 2"):
        Words.train(CAPTIONS, max_length=2)
    with pytest.raises(ValueError, match="no word"):
        Words.train([], max_length=9)


class Letters(Tokenizer):
    """A tokenizer of another package: lower-case letters, blanks for all else."""

    @classmethod
    def train(cls, captions, max_length, *, shift: int = 3):
        return cls.restored({"max_length": max_length, "shift": shift})

    @classmethod
    def restored(cls, state):
        made = cls(state["max_length"], 27 + state["shift"], bos_id=0, eos_id=1)
        made.shift = state["shift"]
        return made

    def state(self):
        return {"shift": self.shift}

    def tokens(self, caption):
        return [max(0, ord(each) - 96) + self.shift for each in caption.lower()]

    def text(self, ids):
        return "".join(chr(each - self.shift + 96) for each in ids).replace("`", " ")


@pytest.fixture(params=["words", "bpe", "hf", f"{__name__}:Letters"])
def any_tokenizer(request, gpt2, monkeypatch):
    """Each kind; that of GPT-2 has one token for begin and end, and none for padding."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Letters.__module__])
    if request.param == "hf":
        return HuggingFace(Inner.from_file(str(gpt2 / "tokenizer.json")), 90, {"bos": 0, "eos": 0, "pad": None})
    return make_tokenizer(request.param, [each.lower() for each in CAPTIONS], 90)


def test_a_caption_of_any_tokenizer_is_plain_text_again_after_it_was_stored(any_tokenizer):
    text = write_tokenizer(any_tokenizer)
    stored = read_tokenizer(text)
    assert write_tokenizer(stored) == text and type(stored) is type(any_tokenizer)
    for tokenizer in (any_tokenizer, stored):
        assert (tokenizer.size, tokenizer.max_length) == (any_tokenizer.size, 90)
        for caption in ("the large cube moved", "the red ball is gone"):
            ids = tokenizer.encode(caption)
            assert ids == any_tokenizer.encode(caption) and max(ids) < tokenizer.size
            assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
            padded = [tokenizer.pad_id] * 3
            for form in (ids, [*ids, *padded], ids[1:], ids[1:-1], [*ids[1:], *padded]):  # of a batch, or generated
                assert tokenizer.decode(form) == caption
        assert tokenizer.decode(tokenizer.encode("")) == tokenizer.decode([tokenizer.eos_id]) == ""


def test_any_tokenizer_cuts_captions_to_the_limit_of_a_run(any_tokenizer):
    short = any_tokenizer.limited(6)
    ids = short.encode("the large red ball moved")
    assert len(ids) == 6 and ids[-1] == short.eos_id and any_tokenizer.max_length == 90
    assert "the large red ball moved".startswith(short.decode(ids))
    assert read_tokenizer(write_tokenizer(short)).max_length == 6


def test_text_never_becomes_a_special_token_of_any_tokenizer(any_tokenizer):
    special = {any_tokenizer.bos_id, any_tokenizer.eos_id, any_tokenizer.pad_id}
    for text in ("<eos>", "<pad> a", "<|endoftext|>"):
        assert not special & {*any_tokenizer.encode(text)[1:-1]}


def test_what_cannot_be_said_is_named(any_tokenizer):
    lacking = any_tokenizer.unknown("the zebra moved")
    assert lacking == (["zebra"] if isinstance(any_tokenizer, Words) else [])


def test_bpe_knows_frequent_words_whole_and_any_other_by_its_bytes():
    captions = ["the cube moved"] * 9 + CAPTIONS
    bpe = make_tokenizer("bpe", captions, 40)
    assert len(bpe.encode("the cube moved")) == 5
    assert bpe.decode(bpe.encode("Ein Zebra! \U0001f993")) == "ein zebra! \U0001f993"
    assert write_tokenizer(make_tokenizer("bpe", captions, 40)) == write_tokenizer(bpe)
    assert bpe.size < 300 == make_tokenizer({"name": "bpe", "size": 300}, captions * 9, 40).size


def test_the_json_of_older_versions_is_read(tokenizer):
    inner = {
        "truncation": {"max_length": 20},
        "pre_tokenizer": {"pattern": {"Regex": tokenizer.state()["pattern"]}},
        "model": {"vocab": {word: number for number, word in enumerate(tokenizer.state()["words"])}},
    }
    assert write_tokenizer(read_tokenizer(json.dumps(inner))) == write_tokenizer(tokenizer)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a tokenizer's JSON"),
        ("[]", "not a tokenizer's JSON"),
        ("{}", "not a tokenizer's JSON"),
        ('{"model": {"vocab": {"a": 0}}, "truncation": {"max_length": 3}}', "first words are"),
        ('{"tokenizer": "words", "max_length": "9", "words": []}', "max_length is '9'"),
        ('{"tokenizer": "words", "max_length": 9}', "'words'"),
        ('{"tokenizer": "word", "max_length": 9}', "did you mean 'words'"),
        ('{"tokenizer": 3, "max_length": 9}', "3"),
        ('{"tokenizer": "json:JSONDecoder", "max_length": 9}', "does not extend idc_data.tokenizers.base.Tokenizer"),
        ('{"tokenizer": "bpe", "max_length": 9, "ids": {}, "inner": {}}', "tokenizers library cannot read"),
    ],
)
def test_what_is_no_tokenizer_is_refused_in_one_line(text, told):
    with pytest.raises(ValueError, match=told.replace(".", r"\.")) as caught:
        read_tokenizer(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("wrds", "did you mean 'words'"),
        ({"name": "bpe", "sise": 9}, "did you mean 'size'"),
        ({"name": "bpe", "size": 9}, "300"),
        ({"size": 9}, "expected a name"),
        ("hf", "model"),
        ("nowhere.at:All", "cannot be imported"),
    ],
)
def test_mistakes_in_a_spec_are_one_line(given, told):
    with pytest.raises(ValueError, match=told) as caught:
        resolve_tokenizer(given)
    assert "\n" not in str(caught.value)


def test_specs_of_older_versions_had_a_least_frequency():
    assert DataSpec.model_validate({"min_frequency": 1}) == DataSpec()
    spec = DataSpec.model_validate({"min_frequency": 2})
    assert spec.tokenizer == {"name": "words", "min_frequency": 2}
    assert make_tokenizer(spec.tokenizer, CAPTIONS, 9).unknown("the large ball") == ["large"]
    with pytest.raises(ValueError, match="min_frequency"):
        resolve_tokenizer(DataSpec.model_validate({"min_frequency": 0}).tokenizer)


def test_names_are_those_of_the_entry_points(any_tokenizer):
    assert tokenizer_name(any_tokenizer) in ("words", "bpe", "hf", f"{Letters.__module__}:Letters")


def test_a_name_of_another_package_is_found_and_two_owners_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "letters", sys.modules[__name__])
    found = [EntryPoint("letters", "letters:Letters", "idc.tokenizers")]
    monkeypatch.setattr("idc_data.tokenizers.entries", lambda group: found)
    made = make_tokenizer({"name": "letters", "shift": 5}, [], 9)
    assert made.encode("ab") == [0, 6, 7, 1] and resolve_tokenizer("letters")[1] == {"shift": 3}
    found.append(EntryPoint("letters", "other:Letters", "idc.tokenizers"))
    with pytest.raises(ValueError, match="letters:Letters and other:Letters"):
        resolve_tokenizer("letters")


def test_words_need_no_library():
    program = (
        "import sys\nfrom idc_data.tokenizers import make_tokenizer\nmake_tokenizer('words', ['a'], 9)\n"
        "sys.exit(', '.join(sys.modules.keys() & {'torch', 'tokenizers', 'transformers'}))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == ""


@pytest.mark.slow
def test_the_tokenizer_of_a_model_is_read_from_its_folder(gpt2, tmp_path):
    made = make_tokenizer({"name": "hf", "model": str(gpt2)}, [], 40)
    assert made.bos_id == made.eos_id == made.pad_id == 0
    assert made.decode(made.encode("The cube, moved.")) == "The cube, moved."
    for model in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ValueError, match="expected a folder with tokenizer.json") as caught:
            make_tokenizer({"name": "hf", "model": str(model)}, [], 40)
        assert "\n" not in str(caught.value)


def test_words_of_another_model_keep_their_ids():
    vocabulary = ["<pad>", "The", "cube", "moved", "<unk>", "<start>", "<end>"]
    made = Words(vocabulary, 9, special={"pad": 0, "bos": 5, "eos": 6, "unk": 4})
    read = read_tokenizer(write_tokenizer(made))
    for tokenizer in (made, read):
        assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 5, 6, 4)
        assert tokenizer.encode("the cube flew") == [5, 1, 2, 4, 6]
        assert tokenizer.decode([5, 1, 2, 4, 3, 6, 2]) == "The cube moved"
        assert tokenizer.unknown("the cube flew") == ["flew"]


def test_padding_may_end_a_caption_and_no_word_may_stand_for_unknown_ones():
    tokenizer = Words(["<NULL>", "<UNK>", "<START>", "a"], 9, special={"pad": 0, "bos": 2, "eos": 0})
    assert tokenizer.encode("a b") == [2, 3, 0] and tokenizer.decode([3, 1, 3, 0, 3]) == "a a"
    with pytest.raises(ValueError, match="id of 'eos' is 4, but there are 4 words"):
        Words(["a", "b", "c", "d"], 9, special={"pad": 0, "bos": 2, "eos": 4})
