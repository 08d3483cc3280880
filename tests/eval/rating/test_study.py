import json
import subprocess
import sys

import pytest
from idc_eval.prediction import read_predictions, write_predictions
from idc_eval.rating.checks import foreign_reference
from idc_eval.rating.store import Judgement, Ratings, rater_name


def items(path):
    with Ratings(path) as ratings:
        return list(ratings.items.values())


def rewrite(file, **changes):
    write_predictions(file, [p.model_copy(update=changes) for p in read_predictions(file)])


def test_each_caption_of_each_pair_is_an_item_once(study):
    asked = [item for item in items(study("--checks", 0)) if not item.accepted]
    said = {(item.pair, item.captions[0]): item.systems for item in asked}
    assert len(said) == len(asked) == 11
    assert said["lawn", "there is a dog"] == ("lstm", "transformer")
    assert said["cube", "the cube is gone"] == ("lstm",)


def test_a_check_is_the_reference_of_quite_another_pair(study, pairs):
    checks = [item for item in items(study("--checks", 0.25)) if item.accepted]
    assert len(checks) == 3
    references = {said[0]: pair for pair, said in pairs.items()}
    for check in checks:
        assert check.accepted == (1, 2) and not check.systems
        assert references[check.captions[0]] != check.pair


def test_no_change_is_no_check_for_a_pair_without_change(systems):
    predictions = {p.id: p for p in read_predictions(systems[0])}
    still = predictions["still"]
    other = still.model_copy(update={"id": "other", "references": ["there is no difference"]})
    assert foreign_reference(still, [other]) is None
    assert (
        foreign_reference(still.model_copy(update={"changed": None}), [other.model_copy(update={"changed": None})])
        is None
    )
    assert foreign_reference(predictions["cube"], [other]) == "there is no difference"


def test_a_caption_that_may_be_true_of_both_is_no_check(systems):
    cube, lawn, *_ = read_predictions(systems[0])
    near = lawn.model_copy(update={"references": ["the red cube is gone"]})
    assert foreign_reference(cube, [near]) is None
    assert foreign_reference(cube, [near, lawn]) == "a dog sits on the grass now"


def test_checks_are_spelled_as_the_systems_spell(systems, study):
    for file in systems:
        write_predictions(
            file, [p.model_copy(update={"references": [f"{p.references[0].title()}."]}) for p in read_predictions(file)]
        )
    captions = [item.captions[0] for item in items(study("--checks", 0.25)) if item.accepted]
    assert captions and all(caption == caption.lower() and not caption.endswith(".") for caption in captions)


def test_a_study_without_possible_checks_says_so(systems, command, tmp_path):
    for file in systems:
        rewrite(file, references=["it is different now"])
    ended = command("rate", *systems, "--out", tmp_path / "r.db", "--html", tmp_path / "r.html")
    assert ended.exit_code == 2 and "use --checks 0" in ended.stderr
    assert not (tmp_path / "r.db").exists()


def test_preference_asks_only_where_the_systems_differ(study, pairs):
    path = study("--mode", "prefer")
    asked = {item.pair: item for item in items(path) if not item.accepted}
    assert asked.keys() == pairs.keys() - {"lawn"}
    for pair, item in asked.items():
        mine = dict(zip(item.systems, item.captions, strict=True))
        assert mine == {"lstm": pairs[pair][1], "transformer": pairs[pair][2]}
    with Ratings(path) as ratings:
        assert ratings.same == pytest.approx(1 / 6)


def test_preference_checks_know_the_right_side(study, pairs):
    checks = [item for item in items(study("--mode", "prefer", "--checks", 1)) if item.accepted]
    assert len(checks) == 5
    for check in checks:
        right = check.captions[0 if check.accepted == (-1,) else 1]
        assert right == pairs[check.pair][0] and set(check.captions) != {right}


def test_the_draw_is_fixed_by_the_seed(study):
    ids = [
        {item.id for item in items(study("--num", 3, "--seed", seed, name=f"{at}.db"))}
        for at, seed in enumerate([1, 1, 2])
    ]
    assert ids[0] == ids[1] != ids[2]
    assert len({item.pair for item in items(study("--num", 3, name="3.db"))}) == 3


def test_names_come_from_folders_where_files_are_called_the_same(systems, study, tmp_path):
    runs = [tmp_path / "runs" / name / "artifacts" for name in ("v1.5", "v2")]
    for run, file in zip(runs, systems, strict=True):
        run.mkdir(parents=True)
        (run / "predictions.jsonl").write_text(file.read_text())
        for image in tmp_path.glob("*.png"):
            (run / image.name).write_bytes(image.read_bytes())
    with Ratings(study(of=runs)) as ratings:
        assert list(ratings.settings.systems) == ["v1.5", "v2"]
        assert ratings.files["v2"] == str(runs[1] / "predictions.jsonl")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--seed", 1], "has seed 0, but 1 was given"),
        (["--mode", "prefer"], "has mode 'scale', but 'prefer' was given"),
        (["--num", 5], "has num 100, but 5 was given"),
    ],
)
def test_another_plan_is_refused_and_the_same_one_goes_on(systems, study, command, answer, options, problem):
    path = study()
    answer(path, "ann", {"more cars": 4})
    for again in ([*systems], [], [*systems, "--num", 100], ["--seed", 0]):
        ended = command("rate", *again, "--out", path, "--html", path.parent / "again.html")
        assert ended.exit_code == 0 and "1 rater so far" in ended.stdout
    ended = command("rate", *systems, "--out", path, *options)
    assert ended.exit_code == 2 and problem in ended.stderr
    ended = command("rate", *reversed(systems), "--out", path)
    assert ended.exit_code == 2 and "is about lstm, transformer, but the given transformer, lstm" in ended.stderr
    with Ratings(path) as ratings:
        assert len(ratings.last()) == 3


def test_other_captions_under_the_same_name_are_refused(systems, study, command):
    path = study()
    rewrite(systems[1], hypothesis="something else")
    ended = command("rate", *systems, "--out", path)
    assert ended.exit_code == 2 and "is about lstm, transformer" in ended.stderr


def test_predictions_without_images_say_what_to_do(systems, command, tmp_path):
    for file in systems:
        rewrite(file, before=None)
    ended = command("rate", *systems, "--out", tmp_path / "ratings.db")
    assert ended.exit_code == 2 and '"before": "images/7_before.png"' in ended.stderr and ended.stderr.count("\n") == 1


def test_only_pairs_with_images_are_asked_about(systems, command, tmp_path):
    for file in systems:
        without = {"before": None, "after": None}
        write_predictions(
            file, [p.model_copy(update={} if p.id in ("cars", "roof") else without) for p in read_predictions(file)]
        )
    path = tmp_path / "ratings.db"
    ended = command("rate", *systems, "--out", path, "--html", tmp_path / "page.html")
    assert "2 of 6 pairs have images; only these are rated" in ended.stdout
    assert {item.pair for item in items(path)} == {"cars", "roof"}


def test_systems_that_never_differ_leave_nothing_to_choose(systems, command, tmp_path):
    write_predictions(systems[1], read_predictions(systems[0]))
    ended = command("rate", *systems, "--out", tmp_path / "ratings.db", "--mode", "prefer")
    assert ended.exit_code == 2 and "have equal captions for every pair with images" in ended.stderr


def test_images_may_come_from_any_file(systems, study, pairs):
    rewrite(systems[0], before=None, after=None)
    with Ratings(study()) as ratings:
        assert ratings.images().keys() == pairs.keys()


def test_a_damaged_image_is_named(systems, command, tmp_path):
    (tmp_path / "roof_1.png").write_bytes(b"no image")
    ended = command("rate", *systems, "--out", tmp_path / "ratings.db")
    assert ended.exit_code == 2 and "roof_1.png" in ended.stderr


def test_systems_for_other_pairs_are_refused(systems, command, tmp_path):
    write_predictions(systems[1], read_predictions(systems[1])[1:])
    ended = command("rate", *systems, "--out", tmp_path / "ratings.db")
    assert ended.exit_code == 2 and "have different pairs: 'cube' (1 such)" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--out", "none.db"], "give predictions files"),
        (["lstm.jsonl", "--mode", "prefer"], "--mode prefer needs two systems, 1 given: lstm"),
        (["lstm.jsonl", "lstm.jsonl"], "given twice"),
        (["lstm.jsonl", "--out", "cube_0.png"], "expected a SQLite file of ratings"),
        (["lstm.jsonl", "--out", "nowhere/ratings.db"], "unable to open database file"),
        (["lstm.jsonl", "--html", "ratings.db"], "give two files"),
        (["lstm.jsonl", "--host", "256.0.0.1"], "give another --port or --host"),
    ],
)
def test_mistakes_are_one_line(systems, command, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    image = (tmp_path / "cube_0.png").read_bytes()
    ended = command("rate", *arguments)
    assert ended.exit_code == 2 and problem in ended.stderr and ended.stderr.count("\n") == 1
    assert (tmp_path / "cube_0.png").read_bytes() == image, "what was there is left alone"


def test_another_database_is_left_alone(command, tmp_path):
    import sqlite3

    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    was = other.read_bytes()
    for ended in (command("agreement", other), command("rate", "--out", other)):
        assert ended.exit_code == 2 and "is not a file of ratings" in ended.stderr
    assert other.read_bytes() == was


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"item": "000000000000"}, "there is no item '000000000000'"),
        ({"question": "beauty"}, "question is 'beauty', expected one of: correctness, completeness, fluency"),
        ({"value": 6}, "value is 6, expected one of: 1, 2, 3, 4, 5"),
        ({"value": 0}, "value is 0"),
        ({"flipped": True}, "flipped is true"),
        ({"time": 10**15}, "is the clock right?"),
    ],
)
def test_what_is_no_answer_is_refused_and_nothing_is_stored(study, change, problem):
    with Ratings(study()) as ratings:
        fine = {"rater": "ann", "item": next(iter(ratings.items)), "question": "fluency", "value": 3, "time": 5}
        with pytest.raises(ValueError, match=problem):
            ratings.add([Judgement(**fine), Judgement(**fine | {"time": 6} | change)])
        assert ratings.last() == []


def test_the_last_answer_counts_and_the_same_one_is_stored_once(study):
    with Ratings(study()) as ratings:
        item = next(iter(ratings.items))
        first = Judgement(rater="ann", item=item, question="fluency", value=3, time=5)
        later = first.model_copy(update={"value": 4, "time": 9})
        assert ratings.add([later, first]) == 2
        assert ratings.add([first, later]) == 0
        assert ratings.last("ann") == [later] and ratings.last("ben") == []


def test_names_of_raters():
    assert rater_name("  Ann  B. ") == "ann b."
    assert rater_name("ÉLODIE") == "élodie"
    for wrong in ("", " ", "x" * 41, "a/b", "<b>", "a\0", "-"):
        with pytest.raises(ValueError, match="1 to 40"):
            rater_name(wrong)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"study": "another"}, "belongs to another study"),
        ({"judgements": [{"item": "x"}]}, "judgements.0.rater is missing"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_a_file_that_is_not_from_the_page_is_refused(study, command, tmp_path, change, problem):
    path = study()
    with Ratings(path) as ratings:
        good = {"study": ratings.settings.study, "judgements": []}
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(good | change))
    ended = command("rate", "--out", path, "--import", file)
    assert ended.exit_code == 2 and problem in ended.stderr and ended.stderr.count("\n") == 1


def test_a_missing_extra_is_one_line(study):
    path = study()
    for module, arguments in (("uvicorn", ["rate", "--out"]), ("krippendorff", ["agreement"])):
        program = f"import sys; sys.modules[{module!r}] = None; from idc_eval.cli import main; main()"
        ended = subprocess.run([sys.executable, "-c", program, *arguments, str(path)], capture_output=True, text=True)
        assert ended.returncode == 2
        hint = 'in the checkout, uv pip install "./packages/idc-eval[rate]"'
        assert ended.stderr == f"error: {module} is not installed: {hint}\n"


def test_help_imports_nothing_of_the_extra():
    program = (
        "import sys\nfrom idc_eval.cli import main\ntry: main(['rate', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'uvicorn', 'starlette', 'krippendorff', 'scipy', 'sqlite3'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("\n[]\n")
