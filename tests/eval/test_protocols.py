import json

import pytest
from click.testing import CliRunner
from idc_eval import PROTOCOLS, Prediction, find_protocol, reference_ceiling, score, write_predictions
from idc_eval.cli import main

WORDS = ["bleu-4", "rouge-l", "cider"]


def pair(number, hypothesis, *references, kind="drop"):
    changed = None if kind is None else kind != "none"
    return Prediction(
        id=str(number), hypothesis=hypothesis, references=list(references), changed=changed, change_type=kind
    )


@pytest.fixture
def mixed():
    """Three changed pairs of two types and two distractors."""
    return [
        pair(0, "the cube is gone", "the red cube is gone", "the cube has left"),
        pair(1, "there is no change", "nothing has changed", "there is no change", kind="none"),
        pair(2, "the ball is missing", "the ball has gone", "the ball is missing"),
        pair(3, "a ball appeared", "a small ball appeared", kind="add"),
        pair(4, "the ball moved", "no change can be seen", kind="none"),
    ]


@pytest.mark.parametrize(
    ("name", "kept"), [("total", [0, 1, 2, 3, 4]), ("semantic", [0, 2, 3]), ("distractor", [1, 4])]
)
def test_a_subset_is_scored_as_if_there_were_no_other_pairs(mixed, name, kept):
    scores = score(mixed, [*WORDS, "false_alarm_rate"], protocol=f"clevr-change/{name}")
    alone = score([mixed[row] for row in kept], [*WORDS, "false_alarm_rate"])
    assert scores.n == len(kept) and scores.values == alone.values
    # One value per prediction that was given: what is not scored has none.
    judged = [row for row, value in enumerate(scores.per_example["cider"]) if value == value]
    assert judged == kept and len(scores.per_example["cider"]) == 5
    assert [scores.per_example["cider"][row] for row in kept] == alone.per_example["cider"]


def test_by_type_weighs_words_within_the_type(mixed):
    scores = score(mixed, [*WORDS, "miss_rate"], protocol="scenes/by-type")
    assert set(scores.by_type) == {"add", "drop"} and scores.n == 3
    alone = score([mixed[0], mixed[2]], WORDS)
    assert {name: scores.by_type["drop"][name] for name in WORDS} == alone.values
    assert "cider" not in scores.by_type["add"], "one pair has no CIDEr"
    assert scores.by_type["drop"]["miss_rate"] == 0


def test_joined_references_are_one_paragraph():
    one = pair(0, "the car is gone. a man appeared", "the car is gone.", "a man appeared", kind=None)
    other = pair(1, "x", "the truck moved", kind=None)
    multi, single = (score([one, other], ["rouge-l"], protocol=f"spot/{name}") for name in ("multi", "single"))
    assert multi.per_example["rouge-l"][0] == 1
    assert single.per_example["rouge-l"][0] < 1
    with pytest.raises(ValueError, match="joins the references"):
        reference_ceiling([one, other], ["rouge-l"], protocol="spot/multi")


def test_word_ids_keep_ngrams_and_lose_rare_words():
    often = [pair(n, "the house is built", "the house is built", "a house is built", kind=None) for n in range(6)]
    rare = pair("rare", "the pagoda is built", "the villa is built", kind=None)
    words, ids = (
        score([*often, rare], ["bleu-4", "rouge-l"], protocol=f"levir-cc/{n}") for n in ("words", "ids-compat")
    )
    assert ids.per_example["rouge-l"][:6] == words.per_example["rouge-l"][:6] == [1.0] * 6
    # Both rare words are <unk>, so the wrong one counts as right: why such numbers are not comparable.
    assert words.per_example["rouge-l"][6] < ids.per_example["rouge-l"][6] == 1
    assert "numbers" in ids.details["tokenizer"] and "PTB" in words.details["tokenizer"]


def test_a_result_says_what_it_was_scored_by(mixed):
    details = score(mixed, ["rouge-l"], protocol="clevr-change/semantic").summary()["details"]
    assert details["subset"] == "changed" and "references" in details["cider_idf"]
    assert "3,985" in details["note"] and "not comparable" in details["note"]
    assert score(mixed, ["rouge-l"], protocol="plain/mine").details["note"] == ""


def test_what_a_protocol_needs_is_asked_for(mixed):
    with pytest.raises(ValueError, match="`changed`.*1 .*'9'"):
        score([*mixed, pair(9, "x", "y", kind=None)], ["rouge-l"], protocol="scenes/semantic")
    with pytest.raises(ValueError, match="distractor.*unchanged pairs.*none"):
        score(mixed[:1], ["rouge-l"], protocol="scenes/distractor")
    untyped = mixed[0].model_copy(update={"change_type": None})
    with pytest.raises(ValueError, match="needs `change_type`, which pair '0' lacks"):
        score([untyped, *mixed[1:]], ["rouge-l"], protocol="scenes/by-type")
    with pytest.raises(ValueError, match="unknown protocol 'clever-change/total'; did you mean 'clevr-change/total'"):
        find_protocol("clever-change/total")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_scores_and_says_what_it_is(mixed, name):
    scores = score(mixed, ["bleu", "rouge-l"], protocol=name)
    assert scores.values and scores.protocol == name and scores.details["about"]
    json.dumps(scores.summary())


def test_comparing_across_protocols_is_refused(tmp_path, mixed):
    for name, protocol in (("one", "scenes/total"), ("two", "scenes/semantic")):
        (tmp_path / name).mkdir()
        write_predictions(tmp_path / name / "predictions.jsonl", mixed)
        scores = score(mixed, ["rouge-l"], protocol=protocol)
        (tmp_path / name / "scores.json").write_text(json.dumps(scores.summary()))
    command = ["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--metrics", "rouge-l", "--draws", "100"]
    ended = CliRunner().invoke(main, command)
    assert ended.exit_code == 2 and "protocol scenes/total, the second under scenes/semantic" in ended.output
    assert "Traceback" not in ended.output
    ended = CliRunner().invoke(main, [*command, "--protocol", "scenes/semantic", "--json"])
    found = json.loads(ended.output)
    assert found["protocol"] == "scenes/semantic" and found["metrics"][0]["pairs"] == 3


def test_the_commands_know_protocols(tmp_path, mixed):
    write_predictions(tmp_path / "p.jsonl", mixed)
    ended = CliRunner().invoke(main, ["score", str(tmp_path / "p.jsonl"), "--protocol", "clevr-change/distractor"])
    assert "2 pairs, protocol clevr-change/distractor" in ended.output and "not comparable" in ended.output
    ended = CliRunner().invoke(main, ["protocols"], env={"COLUMNS": "200"})
    assert all(name in ended.output for name in PROTOCOLS)


def test_one_sentence_for_all_pairs_is_said_where_cider_is_asked_for():
    alike = [pair(row, "the ball moved", "the cube moved") for row in range(3)]
    scores = score(alike, ["cider", "rouge-l"])
    assert scores.values["cider"] == 0 and "same references" in scores.details["note"]
    assert score(alike, ["rouge-l"]).details["note"] == ""
