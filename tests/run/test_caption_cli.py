"""`idc-caption`: one pair, folders and lines of JSON, by a checkpoint, a registered model and a served one."""

import csv
import io
import json
import os
import socket
from dataclasses import dataclass

import numpy as np
import pytest
from click.testing import CliRunner
from idc_data.readers import open_reader
from idc_models.serving.inference import PairCaptioner
from PIL import Image

from idc_run.serving.caption_cli import caption
from idc_run.tracking.store import connect

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture(scope="module")
def pairs():
    reader = open_reader("scenes", "test", image_size=48)
    return [(reader[index].before, reader[index].after) for index in range(3)]


@pytest.fixture(scope="module")
def expected(registered, pairs):
    """Gives what the model says of the pairs, by settings."""
    captioner = PairCaptioner(registered.result.checkpoint)
    return lambda **settings: captioner.caption(pairs, **settings)


@pytest.fixture
def files(tmp_path, pairs, monkeypatch):
    """A working folder: a pair, two folders of pairs, and what is no image."""
    for side in ("before", "after"):
        (tmp_path / side / "deep").mkdir(parents=True)
    for index, pair in enumerate(pairs):
        name = f"{index}.png" if index < 2 else f"deep/{index}.png"
        for side, image in zip(("before", "after"), pair, strict=True):
            Image.fromarray(image).save(tmp_path / side / name)
    for side, image in zip(("before", "after"), pairs[0], strict=True):
        Image.fromarray(image).save(tmp_path / f"{side}.png")
    (tmp_path / "notes.txt").write_text("nothing has changed")
    Image.fromarray(np.zeros((9, 700, 3), np.uint8)).save(tmp_path / "wide.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(registered):
    """Runs the command with the registered checkpoint where MODEL stands."""

    def invoke(*arguments, code=0, **given):
        model = str(registered.result.checkpoint)
        ended = CliRunner().invoke(caption, [model if each == "MODEL" else str(each) for each in arguments], **given)
        assert ended.exit_code == code, ended.output
        return ended

    return invoke


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["models:/idc@champion", "MODEL"])
def test_it_says_what_the_model_says(registered, files, expected, monkeypatch, run, name):
    monkeypatch.chdir(registered.folder)
    connect()
    before, after = files / "before.png", files / "after.png"
    assert run(name, before, after).stdout == f"{expected()[0].caption}\n"
    (said,) = lines(run(name, before, after, "--beam", "3", "--max-length", "6", "--json").stdout)
    wanted = expected(beam=3, max_length=6)[0]
    assert said["caption"] == wanted.caption and said["log_prob"] == pytest.approx(wanted.log_prob, abs=1e-5)


def test_several_captions_come_with_their_probabilities(files, expected, run):
    wanted = expected(num_captions=3)[0]
    said = run("MODEL", "before.png", "after.png", "--num-captions", 3).stdout.splitlines()
    assert [line.split("%  ")[1] for line in said] == [wanted.caption, *(each.caption for each in wanted.alternatives)]
    drawn = ("--sample", "--temperature", 2, "--num-captions", 3, "--json")
    seeds = [run("MODEL", "before.png", "after.png", *drawn, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_images_of_any_size_are_taken(files, run):
    assert run("MODEL", "before.png", "wide.png", "--align").stdout.count("\n") == 1


def test_the_overlay_shows_both_images_and_the_caption(files, run):
    run("MODEL", "before.png", "after.png", "--overlay", "look.png")
    with Image.open("look.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape[1] > 2 * 480 and sheet.shape[0] > 480
    assert sheet[8:488, 8:488].std() > 5 and (sheet[500:] < 100).any(), "an image, and words"


def test_the_overlay_shows_an_aligned_photo_as_the_model_saw_it(files, run):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    scene = np.asarray(Image.fromarray(noise).resize((500, 400), Image.Resampling.BICUBIC))
    Image.fromarray(scene[:360, :440]).save("before.png")
    Image.fromarray(scene[20:380, 30:470]).save("after.png")
    apart = []
    for options in ([], ["--align"]):
        run("MODEL", "before.png", "after.png", *options, "--overlay", "look.png")
        with Image.open("look.png") as image:
            panels = np.asarray(image)[8:401, 8:].astype(int)
        apart.append(np.abs(panels[60:, 60:480] - panels[60:, 548:968]).mean())
    assert apart[1] < 3 < 20 < apart[0]


@pytest.mark.parametrize("suffix", [".docx", ".psd", ".h5", ""])
def test_a_picture_that_cannot_be_written_is_told_before_the_model_runs(files, run, suffix):
    ended = run("gone.safetensors", "before.png", "after.png", "--overlay", f"look{suffix}", code=2)
    assert f"images cannot be written with the suffix {suffix!r}" in ended.stderr


@pytest.mark.parametrize("form", ["--json", "--csv", "table"])
def test_folders_are_paired_by_names(files, expected, run, form):
    (files / "before" / "alone.png").write_bytes((files / "before.png").read_bytes())
    ended = run("MODEL", "before", "after", *([] if form == "table" else [form]))
    wanted = [each.caption for each in expected()]
    names = ["0.png", "1.png", "deep/2.png"]
    assert ended.stderr == "no partner: before/alone.png\n"
    if form == "table":
        assert all(f"before/{name}" in ended.stdout for name in names)
        return
    found = lines(ended.stdout) if form == "--json" else list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [(each["before"], each["after"]) for each in found] == [(f"before/{n}", f"after/{n}") for n in names]
    assert [each["caption"] for each in found] == wanted


def test_of_folders_every_pair_gets_a_picture(files, run):
    run("MODEL", "before", "after", "--overlay", "looks")
    assert {path.name for path in (files / "looks").rglob("*.png")} == {"0.png.png", "1.png.png", "2.png.png"}


def test_lines_of_json_keep_their_keys_and_a_bad_one_gets_an_error(files, expected, run):
    rows = [
        {"id": 7, "before": "before/0.png", "after": "after/0.png"},
        {"id": 8, "before": "before/gone.png", "after": "after/1.png"},
        {"id": 9, "before": "before/1.png"},
        {"id": 10, "before": "before/1.png", "after": "after/1.png"},
        {"id": 11, "before": "notes.txt", "after": "after/1.png"},
    ]
    text = "\n".join(map(json.dumps, rows)) + "\n\nnonsense\n[1]\n"
    found = lines(run("MODEL", "--jsonl", "-", input=text, code=1).stdout)
    assert [each.get("id") for each in found] == [7, 8, 9, 10, 11, None, None]
    assert [each["caption"] for each in found if "caption" in each] == [each.caption for each in expected()[:2]]
    errors = [each["error"] for each in found if "error" in each]
    assert "before/gone.png" in errors[0] and "both before and after" in errors[1] and "notes.txt" in errors[2]
    assert errors[3].startswith("line 7 is not JSON") and errors[4].startswith("line 8 is not an object")
    # Paths are relative to the file.
    (files / "deep").mkdir()
    (files / "deep" / "rows.jsonl").write_text('{"before": "../before.png", "after": "../after.png"}\n')
    (said,) = lines(run("MODEL", "--jsonl", "deep/rows.jsonl").stdout)
    assert said["caption"] == expected()[0].caption


def test_lines_that_failed_can_be_fed_back(files, expected, run):
    rows = [
        {
            "id": name,
            "before": f"before/{name}.png",
            "after": "after/0.png",
            "error": "it was away",
            "model_error": "so",
        }
        for name in "0g"
    ]
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = run("MODEL", "--jsonl", "rows.jsonl", "--out", "said.jsonl", code=1)
    assert "1 of the pairs could not be captioned" in ended.stderr
    good, bad = lines((files / "said.jsonl").read_text())
    assert good["caption"] == expected()[0].caption and good["id"] == "0" and "error" not in good
    assert bad.keys() == {"id", "before", "after", "error"} and "before/g.png" in bad["error"]


def test_no_field_of_a_line_is_ever_overwritten(files, expected, run):
    own = {
        "caption": "a reference",
        "changed": True,
        "note": "mine",
        "error": 0.25,
        "log_prob": None,
        "references": ["x"],
    }
    pair = {"before": "before/0.png", "after": "after/0.png"}
    (files / "rows.jsonl").write_text("\n".join(map(json.dumps, (pair | own, pair | own | {"after": "gone.png"}))))
    for again in ("rows.jsonl", "said.jsonl"):  # what comes out may go in
        run("MODEL", "--jsonl", again, "--out", "said.jsonl", code=1)
        good, bad = lines((files / "said.jsonl").read_text())
        wanted = expected()[0]
        assert {name: good[name] for name in own} == own and {name: bad[name] for name in own} == own
        assert good["model_caption"] == wanted.caption and good["model_changed"] == wanted.changed
        assert good["alternatives" if again == "rows.jsonl" else "model_alternatives"] == []
        assert "gone.png" in bad["model_error"] and "model_caption" not in bad
    ended = run("MODEL", "--jsonl", "rows.jsonl", "--out", "said.csv", code=1)
    assert "1 of the pairs" in ended.stderr
    first, second = csv.DictReader(io.StringIO((files / "said.csv").read_text()))
    assert first["caption"] == wanted.caption and first["error"] == "" and "gone.png" in second["error"]
    assert second["caption"] == ""


def test_the_metadata_of_a_dataset_are_lines_too(files, expected, run):
    row = {"id": "a", "before_file_name": "before/0.png", "after_file_name": "after/0.png", "changed": True}
    (files / "metadata.jsonl").write_text(json.dumps(row | {"references": ["it moved"]}) + "\n")
    (found,) = lines(run("MODEL", "--jsonl", "metadata.jsonl").stdout)
    assert found["caption"] == expected()[0].caption and found["changed"] is True
    run("MODEL", "--jsonl", "metadata.jsonl", "--out", "said.csv")
    (found,) = csv.DictReader(io.StringIO((files / "said.csv").read_text()))
    assert found["before"] == "before/0.png" and found["after"] == "after/0.png"


def test_lines_end_where_lines_end(files, expected, run):
    given = {"before": "before/0.png", "after": "after/0.png", "said": "one\u2028two\x85three\x0cfour"}
    (files / "rows.jsonl").write_text(json.dumps(given, ensure_ascii=False) + "\n")
    (found,) = (json.loads(line) for line in run("MODEL", "--jsonl", "rows.jsonl").stdout.split("\n") if line)
    assert found["caption"] == expected()[0].caption and found["said"] == given["said"]


def test_names_that_are_not_utf8_are_names(files, expected, run):
    name = os.fsdecode(b"0\xff.png")
    for side in ("before", "after"):
        (files / side / "0.png").rename(files / side / name)
    wanted = [each.caption for each in expected()]
    for _ in range(2):  # the second time it is there
        run("MODEL", "before", "after", "--out", "said.jsonl")
    found = lines((files / "said.jsonl").read_text())
    assert found == lines(run("MODEL", "before", "after", "--json").stdout)
    assert found[0]["before"] == f"before/{name}" and [each["caption"] for each in found] == wanted
    run("MODEL", "before", "after", "--out", "said.csv")
    table = (files / "said.csv").read_text()
    assert table == run("MODEL", "before", "after", "--csv").stdout
    assert [row["before"] for row in csv.DictReader(io.StringIO(table))][0] == "before/0\\udcff.png"
    assert "before/0\\udcff.png" in run("MODEL", "before", "after").stdout
    row = json.dumps({"before": f"before/{name}", "after": f"after/{name}", "\ud800": "ß"})
    (found,) = lines(run("MODEL", "--jsonl", "-", input=row).stdout)
    assert found["\ud800"] == "ß" and found["caption"] == wanted[0]


def test_what_was_stopped_goes_on(files, expected, run, monkeypatch):
    wanted = run("MODEL", "before", "after", "--json").stdout
    asked, caption_pairs = [], PairCaptioner.caption

    def stopped_at_the_third(self, pairs, **settings):
        asked.append(len(pairs))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return caption_pairs(self, pairs, **settings)

    monkeypatch.setattr("idc_run.serving.many.BATCH", 1)
    monkeypatch.setattr(PairCaptioner, "caption", stopped_at_the_third)
    ended = run("MODEL", "before", "after", "--out", "said.jsonl", code=130)
    assert "--out to continue" in ended.stderr and not (files / "said.jsonl").exists()
    # What another beam says is no part of it.
    run("MODEL", "before", "after", "--out", "said.jsonl", "--beam", 2)
    asked.clear()
    ended = run("MODEL", "before", "after", "--out", "said.jsonl")
    assert "resuming after 2 pairs" in ended.stderr and asked == [1]
    found = lines((files / "said.jsonl").read_text())
    assert [each["caption"] for each in found] == [each["caption"] for each in lines(wanted)]
    assert not list(files.glob(".said*"))


def test_a_csv_is_written_whole(files, expected, run):
    (files / "after" / "1.png").write_text("nonsense")
    ended = run("MODEL", "before", "after", "--out", "said.csv", code=1)
    assert "1 of the pairs could not be captioned" in ended.stderr
    found = list(csv.DictReader(io.StringIO((files / "said.csv").read_text())))
    assert [each["caption"] for each in found] == [expected()[0].caption, "", expected()[2].caption]
    assert "damaged or not an image" in found[1]["error"] and not found[0]["error"]


@pytest.mark.slow
def test_a_served_model_says_the_same(files, run, app_address):
    for arguments in (
        ["before.png", "after.png"],
        ["before.png", "after.png", "--num-captions", 3],
        ["before", "after", "--csv"],
    ):
        here = run("MODEL", *arguments).stdout
        there = run(app_address, *arguments).stdout
        if "--csv" in arguments:
            here, there = ([row.split(",")[2] for row in text.splitlines()] for text in (here, there))
        assert here == there
    run(app_address, "before.png", "after.png", "--overlay", "look.png")
    Image.open("before.png").save("before.tiff")
    assert run(app_address, "before.tiff", "after.png").stdout == run("MODEL", "before.png", "after.png").stdout
    ended = run(app_address, "before.png", "notes.txt", code=2)
    assert "notes.txt' is damaged or not an image" in ended.stderr
    (files / "after" / "1.png").write_bytes((files / "after" / "1.png").read_bytes()[:200])
    found = lines(run(app_address, "before", "after", "--json", code=1).stdout)
    assert ["error" in each for each in found] == [False, True, False]
    assert "rejects the request: row 0, 'after'" in found[1]["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL", "gone.png", "after.png"], "gone.png"),
        (["MODEL", "before.png", "notes.txt"], "'notes.txt' is damaged or not an image"),
        (["gone.safetensors", "before.png", "after.png"], "no checkpoint at 'gone.safetensors'"),
        (["before.png", "before.png", "after.png"], "before.png is not a readable safetensors file"),
        (["models:/idc@loser", "before.png", "after.png"], "no registered model 'models:/idc@loser'"),
        (["models:/nobody/1", "before.png", "after.png"], "no registered model 'models:/nobody/1'"),
        (["models:/idc", "before.png", "after.png"], "no registered model 'models:/idc'"),
        (["MODEL", "before.png"], "expected BEFORE and AFTER"),
        (["MODEL", "before.png", "after"], "a folder and a file"),
        (["MODEL", "before", "before/deep"], "no name is in both"),
        (["MODEL", "before.png", "after.png", "--out", "said.csv"], "--out and --csv are for folders"),
        (["MODEL", "before", "after", "--out", "said.txt"], "expected a .jsonl or a .csv file"),
        (["MODEL", "before.png", "after.png", "--jsonl", "-"], "--jsonl provides the pairs"),
        (["MODEL", "--jsonl", "gone.jsonl"], "gone.jsonl"),
        (["http://[1", "before.png", "after.png"], "'http://[1' is not a valid server address"),
        (["http://", "before.png", "after.png"], "'http://' is not a valid server address"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(registered, files, monkeypatch, run, arguments, message):
    monkeypatch.chdir(registered.folder)
    connect()
    monkeypatch.chdir(files)
    ended = run(*arguments, code=2)
    (line,) = ended.stderr.splitlines()
    assert ended.stdout == "" and line.startswith("error: ") and message in line


@dataclass
class Clock:
    """Time that passes by sleeping."""

    now: float = 0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_server_that_is_not_there_is_told(files, run, monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr("idc_run.serving.remote.time", clock)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    ended = run(address, "before.png", "after.png", code=2)
    assert f"no answer from {address}" in ended.stderr and "is the model served?" in ended.stderr
    assert 40 < clock.now <= 60, "a server takes up to 20 seconds to start"
    (said,) = caplog.messages
    assert said.endswith("Retrying for 60 s")
    ended = run(address.replace("//", "//user:secret@"), "before.png", "after.png", code=2)
    assert "secret" not in ended.output
