"""What a person reads of a run: on a narrow terminal and in a file."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from idc_models.spec import build_captioner

from idc_run.cli import run
from idc_run.console import Console
from idc_run.training.data import open_data


@pytest.fixture(scope="module")
def printed(tmp_path_factory, tiny_text):
    """What a run of the tiny spec prints into a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("printed"))
        Path("tiny.yaml").write_text(tiny_text)
        ended = CliRunner().invoke(run, ["tiny.yaml", "-s", "eval.select=rouge-l"])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_an_epoch_is_a_line_of_loss_rate_speed_and_the_selected_metric_with_its_time(printed):
    lines = printed.splitlines()
    head = next(line for line in lines if "val/loss" in line)
    assert head.split() == ["loss", "val/loss", "lr", "pairs/s", "rouge-l"]
    epochs = [line for line in lines if line.startswith("epoch ")]
    number = r"[\d.,e+-]+"
    assert len(epochs) == 2
    for line in epochs:
        assert re.fullmatch(rf"epoch +\d+( +{number}){{5}} in \d+ s(  best)?", line), line
        assert len(line.replace(" in ", " in   ")) <= 80, "minutes of validation have room too"


def test_scores_are_shown_x_100_and_rates_in_percent(printed):
    table = {cells[1].strip(): cells[2].strip() for line in printed.splitlines() if len(cells := line.split("│")) > 3}
    assert re.fullmatch(r"\d+\.\d", table["cider"]) and re.fullmatch(r"\d+\.\d", table["bleu-4"])
    assert re.fullmatch(r"\d+\.\d %", table["false_alarm_rate"])


def test_the_end_names_checkpoint_page_and_command(printed):
    (checkpoint,) = re.findall(r"^best checkpoint  (\S+/best\.safetensors)$", printed, re.M)
    assert f"  uv run idc-app {checkpoint}\n" in printed
    assert f"  uv run idc-caption {checkpoint} before.png after.png\n" in printed
    assert "mlflow" not in printed, "it was not tracked"


def test_the_widest_metric_fits_80_columns(capsys, spec):
    chosen, console = spec("eval.metrics=[statement_accuracy]", "eval.select=statement_accuracy"), Console()
    data = open_data(chosen)
    console.begin(chosen, data, build_captioner(chosen.model, data.tokenizer, chosen.train.objectives), 4, None, [])
    console.close()
    capsys.readouterr()
    measured = {"train/epoch_loss": 1.234, "train/lr": 5e-3, "train/pairs_per_second": 1234.0, "val/seconds": 12.3}
    console.epoch(100, {**measured, "val/loss": 1.23, "val/statement_accuracy": 0.953}, best=True)
    assert capsys.readouterr().out.rstrip() == (
        "epoch 100   1.234     1.230  5.0e-03    1,234              95.3 % in 12 s  best"
    )
