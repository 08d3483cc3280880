"""The table of a sweep: its statistics by hand, and what is published of it."""

import csv
import json
import math
import re
from pathlib import Path

import pytest
from idc_eval.compare import holm
from idc_eval.seeds import half_width
from scipy.stats import ttest_rel

from idc_run.sweeps.table import Cell, Table, columns, effects, group, of_best, read_table
from idc_run.sweeps.table_page import markdown, rows, write_table
from idc_run.tracking.mlflow_tracker import MlflowTracker
from idc_run.tracking.runs import Finished
from idc_run.tracking.store import connect

RESULTS = Path(__file__).parents[2] / "docs/results"


def made(scores, metric="m", seeds=(1, 2, 3), paths=("fusion", "decoder"), **more):
    """A table of the values of each seed by setting, best first as they are given."""
    cells = [Cell(dict(zip(paths, at, strict=True)), list(seeds), {metric: list(v)}) for at, v in scores.items()]
    return Table("s", cells, metric, "plain", len(seeds) * len(cells), **more)


def published(name):
    """The table of a committed CSV, and the columns of the page beside it."""
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        head, *lines = csv.reader(file)
    paths, metrics = head[: head.index("seed")], head[head.index("seed") + 1 :]
    page = (RESULTS / f"{name}.md").read_text()
    (columns,) = re.findall(r"^\| .* \| seeds \| (.*?) \| gain of the first line \((.*?)\)", page, re.M)
    groups = {}
    for line in lines:
        groups.setdefault(tuple(line[: len(paths)]), []).append(line[len(paths) :])
    cells = []
    for setting, runs in groups.items():
        known = [(at, metric) for at, metric in enumerate(metrics, 1) if all(run[at] for run in runs)]
        values = {metric: [float(run[at]) for run in runs] for at, metric in known}
        cells.append(Cell(dict(zip(paths, setting, strict=True)), [int(run[0]) for run in runs], values))
    return Table(name, cells, columns[1], "plain", len(lines)), columns[0].split(" | "), page


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.csv")))
def test_a_published_page_is_what_its_runs_give(name):
    table, columns, page = published(name)
    assert markdown(table, columns) in page
    assert f"{table.runs} runs (" in page
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        assert list(csv.reader(file)) == rows(table)


def test_the_unit_is_the_seed_and_not_the_pair():
    table, _, _ = published("fusion-by-decoder")
    found = next(each for each in effects(table) if each.path == "model.fusion.name" and not each.within)
    # By decoder, Transformer, LSTM and GRU; the runs of a seed share their data, their order and their start.
    gains = [total / 3 for total in (10.0 + 5.0 + 1.0, 20.35 + 8.75 + 4.05, 6.85 + 6.8 + 0.65)]
    assert (found.better, found.gain.seeds, found.pairs) == ("concat", 3, 9)
    assert 100 * found.gain.mean == pytest.approx(sum(gains) / 3)
    assert 100 * found.gain.half == pytest.approx(half_width(gains)) and 100 * found.gain.half > 8.5
    assert found.gain.p == pytest.approx(ttest_rel(gains, [0, 0, 0])[1]) and found.gain.p > 0.07


def test_an_effect_is_told_within_each_value_of_another_setting():
    scores = {("concat", "gru"): [0.5, 0.6, 0.8], ("difference", "lstm"): [0.6, 0.5, 0.5]}
    scores |= {("concat", "lstm"): [0.5, 0.5, 0.5], ("difference", "gru"): [0.4, 0.5, 0.6]}
    told = {(each.better, each.worse, each.within): each for each in effects(made(scores))}
    assert told["concat", "difference", ()].gain.mean == pytest.approx((0.2 - 0.2 / 3) / 2 - 0.1 / 6)
    within = told["concat", "difference", ("decoder", "gru")]
    assert within.gain.mean == pytest.approx(0.4 / 3) and within.pairs == within.gain.seeds == 3
    assert within.gain.p == pytest.approx(ttest_rel([0.5, 0.6, 0.8], [0.4, 0.5, 0.6])[1])
    other_way = told["concat", "difference", ("decoder", "lstm")]
    assert other_way.gain.mean == pytest.approx(-0.1 / 3), "one direction for all lines of two values"
    assert len(told) == 6


def test_the_best_is_compared_seed_by_seed():
    # Seeds differ by far more than cells do: unpaired, nothing is to be seen.
    table = made({("a", "x"): [0.2, 0.5, 0.81], ("a", "y"): [0.1, 0.4, 0.7], ("b", "y"): [0.1, 0.5, 0.2]})
    near, far = of_best(table)
    assert near.mean == pytest.approx(0.31 / 3) and near.p == pytest.approx(
        ttest_rel([0.2, 0.5, 0.81], [0.1, 0.4, 0.7])[1]
    )
    assert near.p < 0.01 < far.p
    assert f"| 10.3 +- 1.4 | {near.p:.3f} | {2 * near.p:.3f} |" in markdown(table, ["m"])


def test_only_seeds_that_both_have_are_paired():
    table = made({("a",): [0.9, 0.8, 0.7]}, paths=["x"])
    table.cells.append(Cell({"x": "b"}, [2, 3, 4], {"m": [0.6, 0.6, 0.9]}))
    (found,) = of_best(table)
    assert found.seeds == 2 and found.mean == pytest.approx(0.15)


def test_what_one_seed_cannot_tell_is_left_empty_and_does_not_count():
    assert holm([math.nan, 0.01, 0.04]) == [pytest.approx(math.nan, nan_ok=True), 0.02, 0.04]
    single = made({("a", "x"): [0.9], ("b", "x"): [0.5]}, seeds=[1])
    assert markdown(single, ["m"]).endswith("| b | x | 1 | 50.0 | 40.0 |  |  |\n") and not effects(single)
    table = made({("a", "x"): [0.9, 0.8, 0.71], ("b", "y"): [0.5, 0.4, 0.3]})
    table.cells.append(Cell({"fusion": "c", "decoder": "z"}, [1], {"m": [0.2]}))
    first, second = of_best(table)
    assert math.isnan(second.p) and f"| {first.p:.3f} | {first.p:.3f} |" in markdown(table, ["m"])
    alike = made({("a", "x"): [0.9, 0.8], ("b", "x"): [0.9, 0.8]}, seeds=[1, 2])
    assert "0.0 +- 0.0 |  |  |" in markdown(alike, ["m"])


def test_of_what_counts_the_wrong_ones_less_is_a_gain():
    table = made({("a",): [0.1, 0.2, 0.1], ("b",): [0.4, 0.5, 0.5]}, metric="miss_rate", paths=["x"])
    assert of_best(table)[0].mean == pytest.approx(1 / 3)
    (found,) = effects(table)
    assert (found.better, found.worse) == ("a", "b") and found.gain.mean == pytest.approx(1 / 3)
    assert "gain in miss_rate, lower is better" in markdown(table, ["miss_rate"])


def test_columns_are_those_asked_for_or_the_common_ones():
    table = made({("concat", "gru"): [0.1, 0.2, 0.3]}, metric="cider")
    table.cells[0].values.update({f"bleu-{n}": [0.1] * 3 for n in (1, 2, 3, 4)})
    assert columns(table) == ["bleu-4", "cider"]
    assert columns(table, "cider, bleu") == ["cider", "bleu-1", "bleu-2", "bleu-3", "bleu-4"]
    with pytest.raises(ValueError, match="unknown metric 'cidre'; did you mean 'cider'"):
        columns(table, "cidre")
    with pytest.raises(ValueError, match="test/meteor.*bleu-1, .*cider"):
        columns(table, "meteor")


def test_every_setting_that_any_cell_has_is_a_column():
    cells = [Cell({"decoder": "gru"}, [1, 2], {"m": [0.9, 0.8]})]
    cells += [Cell({"decoder": "lstm", "layers": layers}, [1, 2], {"m": [0.5, 0.4]}) for layers in ("1", "2")]
    table = Table("s", cells, "m", "plain", 6)
    shown = markdown(table, ["m"])
    assert "| decoder | layers | seeds |" in shown and "| gru |  | 2 |" in shown
    assert "| lstm | 1 | 2 |" in shown and "| lstm | 2 | 2 |" in shown


def test_values_with_commas_stay_in_their_column(tmp_path):
    label = '{"name": "cnn", "widths": [8, 8]}'
    write_table(made({(label, "x"): [0.9, 0.8, 0.7], ("b", "x"): [0.5, 0.4, 0.3]}), tmp_path, ["m"])
    with (tmp_path / "s.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["fusion", "decoder", "seed", "m"] and lines[1] == [label, "x", "1", "0.9"] and len(lines) == 7


def test_a_table_of_settings_in_any_script_is_drawn_without_warnings(tmp_path):
    names = ("data/停车场", "данные", "$a_1 and $b")
    write_table(made({(name, "x"): [0.9, 0.8, 0.7] for name in names}), tmp_path, ["m"])
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_a_smoke_run_does_not_replace_the_page_of_a_whole_study(tmp_path):
    whole, smoke = "grid-0123456789ab", "grid-ba9876543210"
    scores = {("a", "x"): [0.9, 0.8, 0.7], ("b", "x"): [0.5, 0.4, 0.3]}
    table = made(scores, planned=6)
    write_table(Table(whole, table.cells, "m", "plain", 6, 6), tmp_path, ["m"])
    page = (tmp_path / "grid.md").read_text()
    assert f"Study {whole}: 6 runs (6 were planned)" in page
    few = Table(smoke, table.cells[:1], "m", "plain", 3)
    with pytest.raises(ValueError, match=rf"grid.md .*6 runs.*{smoke}.*3; .*--out"):
        write_table(few, tmp_path, ["m"])
    assert (tmp_path / "grid.md").read_text() == page
    write_table(few, tmp_path / "elsewhere", ["m"])
    told = f"Study {smoke}: 3 runs (how many were planned is not recorded)"
    assert told in (tmp_path / "elsewhere/grid.md").read_text()


def test_a_run_that_was_done_again_counts_once_as_it_is_now():
    def trial(seed, score, **chosen):
        tags = {"chosen": json.dumps({"seed": str(seed), **chosen})}
        return Finished(tags, {"seed": str(seed)}, {"test/m": score})

    newest_first = [trial(2, 0.4, x="a"), trial(1, 0.3, x="a"), trial(1, 0.1, x="a"), trial(1, 0.9, x="b")]
    assert group(newest_first) == [Cell({"x": "a"}, [1, 2], {"m": [0.3, 0.4]}), Cell({"x": "b"}, [1], {"m": [0.9]})]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::mlflow")
def test_a_table_is_read_from_mlflow(tiny):
    (tiny.parent / "mlruns").mkdir()
    whole, smoke = "grid-0123456789ab", "grid-ba9876543210"
    client, experiment = connect().MlflowClient(), MlflowTracker("grid").experiment

    def log(study, began, misses, **tags):
        run = client.create_run(experiment, start_time=began, tags={"sweep": study, **tags}).info.run_id
        for name, value in {"seed": 1, "eval.select": "cider"}.items():
            client.log_param(run, name, value)
        for name, value in {"test/miss_rate": misses, "test/cider": 1 + misses}.items():
            client.log_metric(run, name, value)
        client.set_terminated(run)
        return run

    part = {"mlflow.parentRunId": log(whole, 1, 0.0, **{"sweep.planned": "3"}), "protocol": "plain"}
    for began, (fusion, misses) in enumerate([("concat", 0.9), ("concat", 0.1), ("difference", 0.2)], start=2):
        log(whole, began, misses, chosen=json.dumps({"model.fusion": fusion}), **part)
    log(smoke, 9, 0.5, chosen=json.dumps({"model.fusion": "concat"}), protocol="plain")
    log(f"grid-{smoke}", 10, 0.5, chosen=json.dumps({}), protocol="plain")

    newest, found = read_table("grid"), read_table(whole)
    assert (newest.sweep, newest.runs, newest.planned) == (smoke, 1, None)
    assert (found.name, found.runs, found.planned) == ("grid", 2, 3)
    assert [cell.name for cell in found.cells] == ["difference", "concat"], "by CIDEr, more is better"
    assert found.cells[1].values["miss_rate"] == [0.1], "the newest of two runs of one setting and seed"
    assert [cell.name for cell in read_table(whole, "miss_rate").cells] == ["concat", "difference"]


def test_trials_that_were_not_tested_make_no_table_and_it_is_said_why(monkeypatch):
    run = Finished({"sweep": "mini-0123456789ab", "chosen": "{}"}, {"eval.select": "cider"}, {"val/cider": 1.0})
    monkeypatch.setattr("idc_run.sweeps.table.trials", lambda: [run])
    with pytest.raises(ValueError, match=r"trials of mini-\w+ were not tested.*-s sweep\.seeds=0"):
        read_table("mini")
