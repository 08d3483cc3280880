import json
import math
from statistics import fmean

import numpy as np
import pytest
from click.testing import CliRunner
from idc_eval import Prediction, score, write_predictions
from idc_eval.cli import main
from idc_eval.seeds import aggregate, half_width


def run(right, num=4):
    says = ["the cube is gone" if row < right else "the dog moved" for row in range(num)]
    return [Prediction(id=str(row), hypothesis=said, references=["the cube is gone"]) for row, said in enumerate(says)]


def test_mean_deviation_and_interval_by_hand():
    found = {each.metric: each for each in aggregate([score(run(right), ["rouge-l"]) for right in (1, 2, 3)])}
    rouge = found["rouge-l"]
    wrong = score(run(0), ["rouge-l"]).values["rouge-l"]
    step = (1 - wrong) / 4
    assert rouge.mean == pytest.approx(wrong + 2 * step) and rouge.deviation == pytest.approx(step)
    # Student's t with two degrees of freedom: 4.3027
    assert rouge.high - rouge.mean == pytest.approx(4.3027 * step / math.sqrt(3), rel=1e-4)


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    drawn = [rng.normal(1.0, 0.2, 5).tolist() for _ in range(1000)]
    covered = sum(abs(fmean(values) - 1.0) <= half_width(values) for values in drawn)
    assert 930 <= covered <= 970


def test_one_run_has_no_interval_and_unlike_runs_are_refused():
    (single,) = aggregate([score(run(1), ["rouge-l"])])
    assert single.deviation is None and single.low is None and len(single.values) == 1
    assert math.isnan(half_width([0.5])) and half_width([0.1, 0.2, 0.3]) == pytest.approx(0.4303 / 3**0.5, rel=1e-4)
    with pytest.raises(ValueError, match=r"3 pairs under plain, 4 pairs under plain"):
        aggregate([score(run(1), ["rouge-l"]), score(run(1, 3), ["rouge-l"])])


def test_the_command(tmp_path):
    files = []
    for seed, right in enumerate((1, 2, 3)):
        folder = tmp_path / f"seed{seed}"
        folder.mkdir()
        write_predictions(folder / "predictions.jsonl", run(right))
        files.append(str(folder))
    ended = CliRunner().invoke(main, ["seeds", *files, "--metrics", "rouge-l"], env={"COLUMNS": "120"})
    assert ended.exit_code == 0 and "3 runs, 4 pairs" in ended.output and "rouge-l" in ended.output
    ended = CliRunner().invoke(main, ["seeds", *files, "--metrics", "rouge-l", "--json"])
    assert len(json.loads(ended.output)["metrics"][0]["values"]) == 3
