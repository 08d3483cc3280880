"""What is said before training of a run whose scores could choose nothing, or whose settings do not fit."""

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from idc_data.layout import write_layout
from idc_data.readers import open_reader
from idc_models.registry import find

from idc_run.cli import run
from idc_run.spec import load_spec
from idc_run.training.ahead import frozen_at_random
from idc_run.training.data import no_change

NUM = {"train": 8, "val": 4, "test": 4}


@pytest.fixture
def folder(tmp_path):
    """Writes a dataset of one's own: pairs of scenes, with other captions and without their truth."""

    def write(captions=lambda example: example.references, **nums):
        sizes = NUM | nums
        settings = {"name": "scenes", **{f"{split}_pairs": num for split, num in sizes.items()}}
        examples = [
            replace(example, references=tuple(captions(example)), truth=None)
            for split, num in sizes.items()
            for example in open_reader(settings, split, image_size=32).examples(range(num))
        ]
        write_layout(tmp_path / "own", examples)
        return ["-s", "data.dataset=own"]

    return write


def check(spec_file, *words, command="--check"):
    ended = CliRunner().invoke(run, [spec_file.name, *words, *([command] if command else [])])
    assert "Traceback" not in ended.output
    return ended


def suggested(text):
    """The overrides that a message says to type."""
    return [word for each in re.findall(r"-s (\S+?)[,;.]?(?:\s|$)", text) for word in ("-s", each)]


@pytest.mark.parametrize(
    ("captions", "nums", "select", "why"),
    [
        (lambda example: ["the square moved"], {}, "cider", "is 0 in the val split even for its own references: all"),
        (lambda example: example.references, {"val": 1}, "cider", "needs two examples"),
        (lambda example: ["moved"], {}, "bleu-4", "is 0 in the val split even for its own references"),
        (lambda example: example.references, {}, "statement_accuracy", "no example carries `truth`"),
        (lambda example: example.references, {}, "pointing_game", "computed only in the test"),
    ],
    ids=["one sentence for all", "one pair", "one word", "no truth", "no map"],
)
def test_a_metric_that_can_choose_nothing_is_refused_and_the_one_that_is_named_works(
    tiny, folder, captions, nums, select, why
):
    given = [*folder(captions, **nums), "-s", f"eval.select={select}"]
    ended = check(tiny, *given)
    assert ended.exit_code == 2
    assert f"eval.select is '{select}'" in ended.stderr and why in ended.stderr
    other = suggested(ended.stderr)
    assert other and check(tiny, *given, *other).exit_code == 0


def test_a_run_refuses_it_too_before_it_makes_anything(tiny, folder):
    ended = check(tiny, *folder(lambda example: ["the square moved"]), command="")
    assert (ended.exit_code, ended.stdout) == (2, "") and "eval.select is 'cider'" in ended.stderr
    assert not (tiny.parent / "mlruns").exists()


def test_references_that_differ_from_each_other_are_no_reason_to_refuse(tiny, folder):
    said = folder(lambda example: [f"{example.id} has changed a lot here", "quite another sentence was written there"])
    assert check(tiny, *said).exit_code == 0


def test_what_does_not_fit_is_said_with_what_to_type(tiny, folder):
    given = [*folder(val=1), "-s", "eval.select=rouge-l", "-s", "train.schedule.warmup_steps=100"]
    ended = check(tiny, *given)
    assert ended.exit_code == 0
    assert "the warm-up takes 100 steps, but the run has 4 (2 per epoch)" in ended.stdout
    assert "the val split has one pair" in ended.stdout
    assert "cider cannot be computed: CIDEr" in ended.stdout
    assert "the learning rate" not in check(tiny, *given, *suggested(ended.stdout)).stdout


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_captions_that_are_cut_are_told(tiny, folder, tokenizer):
    given = [*folder(), "-s", f"data.tokenizer={tokenizer}", "-s", "data.max_length=5"]
    said = check(tiny, *given).stdout
    assert "100% of the training captions have more than 5 tokens" in " ".join(said.split())
    assert "are cut" not in check(tiny, *given, *suggested(said)).stdout


def test_fewer_pairs_than_a_batch(tiny, folder):
    given = folder()
    ended = check(tiny, *given, "-s", "data.batch_size=64")
    assert "error: the training split has 8 pairs, fewer than one batch of 64: reduce the batch size" in ended.stderr
    assert check(tiny, *given, *suggested(ended.stderr)).exit_code == 0


def test_captions_keep_their_brackets_on_the_console(tiny, folder):
    ended = check(tiny, *folder(lambda example: ["the [red] thing [/] moved"]), "-s", "eval.select=cider")
    assert "the [red] thing [/] moved" in ended.stderr


def test_what_is_wrong_with_a_dataset_is_told_before_it_is_trained_on(tiny, folder, tmp_path):
    given = [*folder(), "-s", "eval.select=rouge-l"]
    assert "warning: " not in check(tiny, *given).stdout
    file = tmp_path / "own/train/metadata.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps(row | {"references": ["nothing has changed [at all]"]}) for row in rows))
    said = " ".join(check(tiny, *given).stdout.split())
    assert "metadata.jsonl:1: warning: changed is True, but the captions claim no change" in said
    assert "[at all]" in said and "more of this kind" in said


def test_no_change_is_what_the_spec_lists_or_else_the_dataset(tiny, folder, tmp_path):
    given = folder()[1]
    (tmp_path / "own").mkdir(exist_ok=True)
    assert no_change(load_spec(tiny, [given])) == ()
    (tmp_path / "own/no_change.txt").write_text("Nessun cambiamento.\n", encoding="utf-8")
    assert no_change(load_spec(tiny, [given])) == ("nessun cambiamento",)
    assert no_change(load_spec(tiny, [given, "eval.no_change=[tutto uguale]"])) == ("tutto uguale",)
    assert no_change(load_spec(tiny)) == ()


def test_false_alarms_are_counted_by_the_list_of_the_dataset(tiny, folder, tmp_path):
    said = {True: "il cubo rosso è sparito", False: "è tutto come prima"}
    given = [*folder(lambda example: [said[example.changed], f"{said[example.changed]} {example.id}"])]
    given += ["-s", "eval.metrics=[rouge-l, false_alarm_rate]", "-s", "eval.select=rouge-l"]
    assert "false_alarm_rate cannot be computed" in check(tiny, *given).stdout
    (tmp_path / "own/no_change.txt").write_text("è tutto come prima", encoding="utf-8")
    assert "false_alarm_rate cannot be computed" not in check(tiny, *given).stdout


def test_a_frozen_encoder_with_random_weights_is_warned_of():
    cnn = find("encoder", "cnn")
    (warning,) = frozen_at_random(cnn(widths=(8, 8), frozen=True))
    assert "its weights are random" in warning
    assert not frozen_at_random(cnn(widths=(8, 8)))
    assert not frozen_at_random(cnn(widths=(8, 8), frozen=True, weights="some.safetensors"))
