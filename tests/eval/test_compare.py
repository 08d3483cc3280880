import math
from statistics import NormalDist

import numpy as np
import pytest
from click.testing import CliRunner
from idc_eval import Prediction, score, write_predictions
from idc_eval.cli import main
from idc_eval.compare import compare, difference, interval

THINGS = ["cube", "ball", "cylinder", "dog"]


def predictions(right, seed=0, num=200):
    """A system that names the right thing in so large a part of the pairs."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(num):
        thing = THINGS[index % 4]
        said = thing if rng.random() < right else THINGS[(index + 1) % 4]
        made.append(
            Prediction(
                id=str(index),
                hypothesis=f"the {said} is gone",
                references=[f"the {thing} is gone", f"someone took the {thing} away"],
                changed=True,
            )
        )
    return made


def test_metrics_that_add_up_counts_are_compared_by_their_corpus_value(meteor):
    one, other = predictions(0.5), predictions(0.8, seed=1)
    names = ["bleu-1", "bleu-4", "meteor"]
    values = [score(system, names, meteor=meteor).values for system in (one, other)]
    for found in compare(one, other, names, draws=200, meteor=meteor):
        assert (found.first, found.second) == pytest.approx([each[found.metric] for each in values], abs=1e-12)
        assert found.low <= found.value <= found.high and found.low > 0


def test_a_better_system_is_better_and_equal_ones_are_not():
    good, bad = predictions(0.9), predictions(0.5, seed=1)
    for found in compare(bad, good, ["bleu-4", "cider", "rouge-l"], draws=2000):
        assert found.value > 0 and found.low > 0 and found.p < 0.01, found
        assert found.needed is not None and found.needed < 200
    same = compare(good, list(reversed(good)), ["bleu-4", "cider"], draws=500)
    assert [(found.value, found.p, found.needed) for found in same] == [(0.0, 1.0, None)] * 2
    # Two runs of one system: chance, and the p-value says so.
    again = compare(predictions(0.7, seed=2), predictions(0.7, seed=3), ["rouge-l"], draws=2000)
    assert again[0].low < 0 < again[0].high and again[0].p > 0.05


def test_the_intervals_cover_the_truth():
    """Of 400 experiments with a known difference, 95 % of the intervals hold it; 93 to 97 % is what 400 can tell."""
    rng, covered, num = np.random.default_rng(0), 0, 150
    for trial in range(400):
        common = rng.normal(size=num)
        one = common + rng.normal(size=num)
        other = common + rng.normal(size=num) + 0.3
        found = difference("m", one, other, draws=400, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert 0.92 <= covered / 400 <= 0.975


def test_the_p_value_is_uniform_where_nothing_differs():
    rng, values = np.random.default_rng(0), []
    for trial in range(300):
        one, other = (rng.normal(size=80) for _ in range(2))
        values.append(difference("m", one, other, draws=300, seed=trial).p)
    for bound in (0.05, 0.2, 0.5):
        share = np.mean(np.array(values) <= bound)
        assert abs(share - bound) < 3 * math.sqrt(bound * (1 - bound) / 300) + 0.01


def test_the_number_of_pairs_that_are_needed_is_that_of_a_z_test():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=4000)
    found = difference("m", np.zeros(4000), noise - noise.mean() + 0.1, draws=4000)
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    assert found.needed == pytest.approx((z / 0.1) ** 2, rel=0.1)


def test_an_interval_leaves_out_what_was_not_judged():
    low, high = interval([1.0, 0.0, math.nan] * 50)
    assert 0.38 < low < 0.46 and 0.54 < high < 0.62


def test_systems_on_other_pairs_or_references_are_refused():
    system = predictions(0.5)
    with pytest.raises(ValueError, match="1 .*first, 0 .*second.*'199'"):
        compare(system, system[:-1])
    other = [system[0].model_copy(update={"references": ["else"]}), *system[1:]]
    with pytest.raises(ValueError, match="pair '0' has different references"):
        compare(system, other)


def test_the_command(tmp_path):
    for name, right in (("bad", 0.4), ("good", 0.9)):
        write_predictions(tmp_path / f"{name}.jsonl", predictions(right))
    files = [str(tmp_path / "bad.jsonl"), str(tmp_path / "good.jsonl")]
    ended = CliRunner().invoke(
        main, ["compare", *files, "--metrics", "bleu-4,cider", "--draws", "500"], env={"COLUMNS": "120"}
    )
    assert ended.exit_code == 0, ended.output
    said = " ".join(ended.output.split())  # a long path makes the title break anywhere
    assert "bleu-4" in said and "200 pairs" in said and "better" in said
    ended = CliRunner().invoke(main, ["compare", *files, "--json", "--draws", "200", "--metrics", "rouge-l"])
    assert '"p": ' in ended.output
    write_predictions(tmp_path / "less.jsonl", predictions(0.4, num=10))
    ended = CliRunner().invoke(main, ["compare", files[0], str(tmp_path / "less.jsonl")])
    assert ended.exit_code == 2 and len(ended.output.splitlines()) <= 4 and "have different pairs" in ended.output
