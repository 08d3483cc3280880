import json
import math
from importlib.metadata import EntryPoint

import pytest
from idc_eval.compare import holm
from idc_eval.rating import commands
from idc_eval.rating.agreement import agreement
from idc_eval.rating.export import assessments, summary
from idc_eval.rating.measures import alpha, correlation, sign_flips
from idc_eval.rating.store import Judgement, Ratings

GOOD, BAD = 5, 2
# By lstm four right captions, by transformer two; they share "there is a dog".
SAID = {
    "the cube is gone": GOOD,
    "a cylinder moved": BAD,
    "there is a dog": GOOD,
    "more cars": GOOD,
    "</script><b>cars</b>": BAD,
    "no difference": GOOD,
    "the sky turned dark": BAD,
    "the door has another color": GOOD,
    "a window": BAD,
    "white roofs": BAD,
    "it snowed": GOOD,
    "*": 1,  # checks
}


def test_alpha_as_on_paper():
    # Four items, two raters: (1, 1), (1, 1), (-1, -1), (1, -1). Each item adds both orders of its pair to the table of
    # coincidences: 4 times 1 with 1, twice -1 with -1, once 1 with -1, once -1 with 1; so n is 5 and 3 of 8.
    # Observed disagreement: 2 / 8. Expected: 2 x 5 x 3 / (8 x 7) = 30 / 56. Alpha = 1 - (2 / 8) / (30 / 56) = 8 / 15.
    found = alpha([[1, 1], [1, 1], [-1, -1], [1, -1]], "nominal")
    assert found.value == pytest.approx(8 / 15) and found.items == 4
    assert found.low is not None and found.high is not None and found.low < 8 / 15 < found.high == 1


def test_alpha_of_krippendorffs_own_example():
    """Of "Computing Krippendorff's Alpha-Reliability", 2011: four raters, twelve items, answers missing; ordinal."""
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    items = [[value for value in column if value is not None] for column in zip(*table, strict=True)]
    assert alpha(items, "ordinal").value == pytest.approx(0.815, abs=5e-4)
    assert alpha(items, "nominal").value == pytest.approx(0.743, abs=5e-4)
    assert alpha(items, "ordinal").items == 11, "an item of one rater says nothing"


def test_alpha_that_does_not_exist_says_why():
    assert alpha([[1], [2]], "ordinal").note == "no item was judged by two raters"
    same = alpha([[3, 3], [3, 3], [5]], "ordinal")
    assert (same.value, same.items) == (None, 2) and "every answer is 3" in same.note
    assert alpha([[1, 2]], "ordinal").low is None, "one item has no interval"


def test_random_signs():
    # All three differences are 1: of the eight ways to choose signs two are as far from zero.
    assert sign_flips([1, 1, 1]) == 2 / 8
    assert sign_flips([1]) == 1
    assert sign_flips([0, 0]) == 1
    assert sign_flips([1.0] * 40) == pytest.approx(2 / 10_001)


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1, 1] and holm([]) == []


def test_correlation():
    pairs = list("abcdef")
    # Ranks 1 to 6 with two neighbours swapped: rho = 1 - 6 x 2 / (6 x 35), tau = (14 - 1) / 15.
    found = correlation([1, 2, 4, 3, 5, 6, math.nan], [1, 2, 3, 4, 5, 9, 0], [*pairs, "g"])
    assert found.spearman == pytest.approx(1 - 12 / 210) and found.kendall == pytest.approx(13 / 15)
    assert found.items == 6 and found.p is not None and found.p < 0.01
    assert found.low is not None and found.high is not None and found.low < found.spearman < found.high
    assert correlation([1, 1, 1], [1, 2, 3], pairs[:3]).note == "the metric does not vary"
    assert correlation([1, 2, 3], [4, 4, 4], pairs[:3]).note == "the human mean does not vary"
    assert "fewer than three" in correlation([1, 2, math.nan], [1, 2, 3], pairs[:3]).note
    one_pair = correlation([1, 2, 3, 4], [1, 2, 3, 5], ["a"] * 4)
    assert one_pair.spearman == pytest.approx(1) and one_pair.low == pytest.approx(1)


def test_a_study_with_known_answers(study, answer, outcome):
    path = study()
    answer(path, "ann", SAID)
    answer(path, "ben", SAID | {"no difference": 4})
    found = outcome(path, "--metrics", "rouge-l,cider,distinct-1,statement_accuracy")
    means = {(m["system"], m["question"]): m for m in found["means"]}
    assert means["lstm", "correctness"]["value"] == pytest.approx((5 + 5 + 5 + 4.5 + 5 + 2) / 6)
    assert means["transformer", "fluency"]["value"] == pytest.approx((2 + 5 + 2 + 2 + 2 + 5) / 6)
    (contrast,) = (c for c in found["contrasts"] if c["question"] == "correctness")
    differences = [-3, 0, -3, -2.5, -3, 3]
    assert contrast["difference"] == pytest.approx(sum(differences) / 6) and contrast["pairs"] == 6
    assert contrast["low"] < contrast["difference"] < contrast["high"]
    # Of the 2 x 16 different choices of signs that are as far from zero: those of the five that are not 0.
    totals = [sum(d * (-1) ** (bits >> at & 1) for at, d in enumerate(differences)) for bits in range(64)]
    exact = sum(abs(total) >= abs(sum(differences)) for total in totals) / 64
    assert contrast["p"] == pytest.approx(exact, abs=0.02) and contrast["p_holm"] == contrast["p"]
    assert found["judgements"] == 66
    assert found["correlations"]["correctness"]["rouge-l"]["items"] == 11
    assert any(note.startswith("statement_accuracy: no example carries `truth`") for note in found["notes"])
    assert "distinct-1: has no values of single captions" in found["notes"]
    assert found["alphas"]["correctness"]["items"] == 11


def test_a_metric_that_says_what_people_say_correlates(systems, study, answer, outcome, pairs):
    """Captions that are worded as the reference are liked, the others are not."""
    from idc_eval.prediction import read_predictions, write_predictions

    for file, good in zip(systems, (set(list(pairs)[:3]), set(list(pairs)[3:])), strict=True):
        said = [
            p.model_copy(update={"hypothesis": p.references[0] if p.id in good else f"{p.id} qux"})
            for p in read_predictions(file)
        ]
        write_predictions(file, said)
    path = study("--checks", 0)
    opinions = {said[0]: 5 for said in pairs.values()} | {"*": 1}
    answer(path, "ann", opinions)
    found = outcome(path, "--metrics", "rouge-l")["correlations"]["correctness"]["rouge-l"]
    assert found["spearman"] > 0.8 and found["kendall"] > 0.7 and found["p"] < 0.01 and found["low"] > 0.5


def test_who_does_not_look_is_left_out(study, answer, outcome, command):
    path = study("--checks", 0.25)
    answer(path, "ann", SAID)
    answer(path, "bot", dict.fromkeys(SAID, 5))
    found = outcome(path, "--metrics", "none")
    assert [(r["name"], r["checks"], r["passed"], r["kept"]) for r in found["raters"]] == [
        ("ann", 3, 3, True),
        ("bot", 3, 0, False),
    ]
    assert found["judgements"] == 33 and found["correlations"] == {}
    assert outcome(path, "--metrics", "none", "--keep-all")["judgements"] == 66
    assert outcome(path, "--metrics", "none", "--pass", 0)["judgements"] == 66
    shown = command("agreement", path, "--metrics", "none").stdout
    assert "left out: failed checks" in shown and "0 of 3" in shown
    alone = study("--seed", 3, name="alone.db")
    answer(alone, "bot", dict.fromkeys(SAID, 5))
    ended = command("agreement", alone)
    assert ended.exit_code == 2 and "--keep-all counts them" in ended.stderr


def test_half_of_the_checks_is_enough(study, answer, outcome):
    path = study("--checks", 0.2)
    with Ratings(path) as ratings:
        checks = [item.captions[0] for item in ratings.items.values() if item.accepted]
    answer(path, "ann", SAID | {checks[0]: 4})
    (rater,) = outcome(path, "--metrics", "none")["raters"]
    assert (rater["checks"], rater["passed"], rater["kept"]) == (2, 1, True)


def test_a_changed_answer_counts_once(study, answer, outcome):
    path = study()
    answer(path, "ann", SAID)
    answer(path, "ann", {"the cube is gone": 1}, time=2_000)
    found = outcome(path, "--metrics", "none")
    mean = next(m for m in found["means"] if (m["system"], m["question"]) == ("lstm", "correctness"))
    assert mean["value"] == pytest.approx((1 + 5 + 5 + 5 + 5 + 2) / 6) and found["judgements"] == 33


@pytest.mark.parametrize(
    ("answers", "note"),
    [
        ({"ann": SAID}, "no item was judged by two raters"),
        ({"ann": {"more cars": 4}, "ben": {"it snowed": 2}}, "no item was judged by two raters"),
        ({"ann": dict.fromkeys(SAID, 2), "ben": dict.fromkeys(SAID, 2)}, "every answer is 2"),
        ({"ann": {"more cars": 4}, "ben": {"more cars": 4}}, "every answer is 4"),
    ],
)
def test_what_cannot_be_known_is_said(study, answer, command, answers, note):
    path = study()
    for rater, said in answers.items():
        answer(path, rater, said)
    ended = command("agreement", path, "--metrics", "rouge-l")
    assert ended.exit_code == 0 and not ended.stderr
    assert f"alpha of correctness: {note}" in ended.stdout and "nan" not in ended.stdout


def test_no_answers_are_one_line(study, command, answer):
    path = study("--checks", 0.5)
    ended = command("agreement", path)
    assert ended.exit_code == 2 and "there are no answers" in ended.stderr
    with Ratings(path) as ratings:
        check = next(item for item in ratings.items.values() if item.accepted)
        ratings.add([Judgement(rater="ann", item=check.id, question="correctness", value=1, time=5)])
    ended = command("agreement", path)
    assert ended.exit_code == 2 and "only answers to attention checks" in ended.stderr and ended.stderr.count("\n") == 1


def prefer(path, said):
    """Answers for what a rater prefers, by pair: a system, or nothing."""
    with Ratings(path) as ratings:
        for item in ratings.items.values():
            for rater, choices in said.items():
                if not item.accepted and item.pair in choices:
                    value = {item.systems[0]: -1, None: 0, item.systems[1]: 1}[choices[item.pair]]
                    ratings.add([Judgement(rater=rater, item=item.id, question="preference", value=value, time=5)])


def test_preferences(study, outcome, command):
    path = study("--mode", "prefer")
    ann = {"cube": "lstm", "cars": "lstm", "still": "lstm", "door": "lstm", "roof": "transformer"}
    prefer(path, {"ann": ann, "ben": ann | {"cars": "transformer", "door": None}})
    found = outcome(path, "--metrics", "rouge-l")
    told = found["preference"]
    assert told["wins"] == pytest.approx([0.6, 0.1, 0.3]) and told["pairs"] == [3, 1, 1]
    # Three pairs against one: of the 16 ways of four coins, ten are as uneven.
    assert told["p"] == pytest.approx(10 / 16) and told["same"] == pytest.approx(1 / 6)
    assert found["means"] == found["contrasts"] == []
    # As on paper: (-1, -1), (-1, 1), (-1, -1), (-1, 0), (1, 1); whichever caption of an item comes first.
    assert found["alphas"]["preference"]["value"] == pytest.approx(1 - (4 / 10) / (2 * (6 * 3 + 6 + 3) / 90))
    assert found["correlations"]["preference"]["rouge-l"]["items"] == 5
    shown = command("agreement", path, "--metrics", "none").stdout
    assert "sign test over pairs: p 0.6250" in shown and "17% of all pairs were not rated" in shown
    assert summary(path, "lstm")["human/preference_win"] == pytest.approx(0.6)
    assert summary(path, "transformer")["human/preference_win"] == pytest.approx(0.3)
    assert summary(path, "transformer")["human/preference_loss"] == pytest.approx(0.6)
    rows = {(row.item, row.system, row.rater): row.value for row in assessments(path)}
    assert len(rows) == 20
    assert (rows["cube", "lstm", "ann"], rows["cube", "transformer", "ann"]) == (1, 0)
    assert (rows["cars", "lstm", "ben"], rows["door", "lstm", "ben"], rows["door", "transformer", "ben"]) == (
        0,
        0.5,
        0.5,
    )


def test_numbers_and_judgements_for_trackers(study, answer):
    path = study()
    answer(path, "ann", SAID)
    answer(path, "ben", SAID)
    told = summary(path, "lstm", ["rouge-l"])
    assert told["human/correctness"] == pytest.approx(4.5)
    assert told["human/correctness_low"] < 4.5 < told["human/correctness_high"]
    assert told["human/alpha_correctness"] == 1 and told["human/raters"] == 2 and told["human/judgements"] == 66
    assert -1 <= told["human/spearman_rouge-l_correctness"] <= 1
    both = summary(path)
    assert both["human/lstm/correctness"] == pytest.approx(4.5)
    assert both["human/transformer/correctness"] == pytest.approx(3)
    with pytest.raises(ValueError, match="has no system 'gru', only: lstm, transformer"):
        summary(path, "gru")
    rows = assessments(path)
    assert len(rows) == 2 * 3 * 12, "two raters, three questions, the shared caption for both systems"
    dog = [row for row in rows if row.item == "lawn" and row.rater == "ann" and row.question == "fluency"]
    assert [(row.system, row.value, row.time) for row in dog] == [("lstm", 5, 1_000), ("transformer", 5, 1_000)]


def test_one_system_needs_no_name(study, answer, systems):
    path = study(of=systems[:1])
    answer(path, "ann", SAID)
    assert summary(path)["human/correctness"] == pytest.approx(4.5)
    with Ratings(path) as ratings:
        assert agreement(ratings, []).contrasts == []


@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        (None, "not tracked: no installed package records ratings"),
        ("pathlib:Path.resolve", "ratings.db"),
        ("pathlib:Path.rmdir", "not tracked: NotADirectoryError"),
    ],
)
def test_a_tracker_is_told_and_may_fail(study, answer, command, monkeypatch, tracker, said):
    path = study()
    answer(path, "ann", SAID)
    installed = [EntryPoint("tracker", tracker, commands.TRACKERS)] if tracker else []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: installed)
    ended = command("agreement", path, "--metrics", "none", "--json", "--tracking")
    assert ended.exit_code == 0 and said in ended.stderr
    assert json.loads(ended.stdout)["judgements"] == 33, "the tracker's line is not in the JSON"
