import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from idc_data.generate.answers import Answers
from idc_data.generate.collect import ImageFolder, ImageList, collect
from idc_data.generate.filters import Filters
from idc_data.generate.pair import Consecutive, Given, Similar
from idc_data.generate.publish import split_pairs
from idc_data.generate.stage import Stages

NUMBERS = pa.schema([("number", pa.int64())])


def through(what, description, length):
    return what


@pytest.fixture
def images(photos):
    return collect(photos, ImageFolder(root=photos).paths())[0]


def test_a_stage_is_made_once_for_the_same_settings(tmp_path):
    stages, made = Stages(tmp_path), []

    def make():
        made.append(1)
        return [{"number": len(made)}], {"broken": ["x"]}

    first, provenance = stages.make("numbers", {"a": 1}, NUMBERS, make)
    again, reused = stages.make("numbers", {"a": 1}, NUMBERS, make)
    other, _ = stages.make("numbers", {"a": 2}, NUMBERS, make)
    assert (first, again, other) == ([{"number": 1}], [{"number": 1}], [{"number": 2}])
    assert not provenance["reused"] and reused["reused"] and reused["broken"] == ["x"]
    assert json.loads((tmp_path / "numbers.json").read_text())["made_from"] == {"a": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["numbers.json", "numbers.parquet"]


def test_a_stage_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Stages(tmp_path).make("numbers", {}, NUMBERS, lambda: 1 / 0)
    assert not list(tmp_path.iterdir())


def test_answers_are_asked_for_once_and_kept_batch_by_batch(tmp_path):
    asked = []

    def answer(some):
        if len(asked) == 2:
            raise ConnectionError
        asked.append([questions[index] for index in some])
        return [f"{questions[index]}!" for index in some]

    questions = ["a", "b", "a", "c", "d", "e"]
    with pytest.raises(ConnectionError):
        list(Answers(tmp_path / "a.sqlite").ask(questions, "model", answer, batch_size=2))
    assert asked == [["a", "b"], ["c", "d"]]
    asked.clear()
    answers = Answers(tmp_path / "a.sqlite")
    assert list(answers.ask(questions, "model", answer, batch_size=2)) == ["a!", "b!", "a!", "c!", "d!", "e!"]
    assert asked == [["e"]] and answers.asked == 1
    list(answers.ask(["a"], "another model", answer, batch_size=2))
    assert answers.asked == 2


def test_collect_merges_copies_and_sets_broken_files_aside(photos):
    rows, notes = collect(photos, ImageFolder(root=photos).paths())
    assert len(rows) == 12 and notes["copies"] == 1
    assert [problem["path"] for problem in notes["broken"]] == ["broken.jpg"]
    assert next(row for row in rows if row["path"] == "0_0.png")["copies"] == ["copy.png"]


def test_a_list_names_images_and_none_outside(photos):
    (photos / "list.txt").write_text("0_1.png\n\n2_3.png\nmissing.png\n")
    chosen = ImageList(file=photos / "list.txt")
    rows, notes = collect(chosen.root, chosen.paths())
    assert [row["path"] for row in rows] == ["0_1.png", "2_3.png"] and len(notes["broken"]) == 1
    (photos / "list.txt").write_text("../captions.json\n")
    with pytest.raises(ValueError, match="lies outside of"):
        collect(photos, ImageList(file=photos / "list.txt").paths())


def test_similar_pairs_are_of_one_group_and_each_image_is_in_few(photos, images):
    rows, notes = Similar(embedding="thumbnail", low=0.5, high=0.9999, per_image=2)(images, photos, through)
    at = {row["image"]: row["path"] for row in images}
    assert rows and all(at[row["before"]][0] == at[row["after"]][0] for row in rows)
    assert max(sum(image in (row["before"], row["after"]) for row in rows) for image in at) <= 2
    assert all(0.5 <= row["similarity"] <= 0.9999 for row in rows) and notes["image full"] > 0
    # The order in which the images come makes no difference.
    again, _ = Similar(embedding="thumbnail", low=0.5, high=0.9999, per_image=2)(images[::-1], photos, through)
    assert again == rows


def test_the_graph_finds_what_comparing_all_finds(photos, images):
    settings = {"embedding": "thumbnail", "low": 0.5, "high": 0.9999}
    exact, _ = Similar(**settings)(images, photos, through)
    graph, _ = Similar(**settings, exact_below=1)(images, photos, through)
    assert graph == exact


def test_the_same_picture_is_no_pair(photos, images):
    settings = {"embedding": "thumbnail", "low": 0.5, "high": 0.9999}
    none, notes = Similar(**settings, same_hash=64)(images, photos, through)
    assert not none and notes["same picture"] > 0


def test_a_timm_model_embeds(photos, images):
    settings = {"name": "timm", "model": "test_resnet.r160_in1k", "pretrained": False}
    rows, _ = Similar(embedding=settings, low=-1, high=1, same_hash=-1)(images, photos, through)
    assert rows


def test_given_pairs(photos, images, tmp_path):
    (tmp_path / "pairs.csv").write_text("before,after\n0_0.png,0_1.png\ncopy.png,0_1.png\n")
    rows, _ = Given(file=tmp_path / "pairs.csv")(images, photos, through)
    assert len(rows) == 1, "a copy is the same image"
    (tmp_path / "pairs.csv").write_text("before,after\n0_0.png,nowhere.png\n")
    with pytest.raises(ValueError, match=r"pairs.csv:2: after 'nowhere.png' is no image"):
        Given(file=tmp_path / "pairs.csv")(images, photos, through)
    (tmp_path / "pairs.csv").write_text("left,right\n")
    with pytest.raises(ValueError, match="no column after, before"):
        Given(file=tmp_path / "pairs.csv")(images, photos, through)


def test_consecutive_frames(photos, images):
    at = {row["image"]: row["path"] for row in images}
    rows, notes = Consecutive(step=1)(images, photos, through)
    paths = [(at[row["before"]], at[row["after"]]) for row in rows]
    assert paths[:3] == [("0_0.png", "0_1.png"), ("0_1.png", "0_2.png"), ("0_2.png", "0_3.png")]
    assert notes == {"frames that did not change": 0} and len(rows) == 12


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({}, None),
        ({"references": ["gone"]}, "too short or too long"),
        ({"references": ["I'm sorry, I cannot compare them"]}, "refusal"),
        ({"references": ["the second image shows a cat"]}, "echo of the prompt"),
        ({"references": ["the gun is gone"]}, "blocked word"),
        ({"rejected": "blah", "references": []}, "answer that cannot be read"),
        ({"confidence": 0.1}, "low confidence"),
        ({"change_type": "none"}, "no change said of images that differ"),
    ],
)
def test_filters(difference, reason):
    pair = {"pair": "p", "similarity": 0.7}
    whole = {"references": ["the dog is gone"], "change_type": "drop", "confidence": 0.9, "rejected": None}
    rows, notes = Filters(blocklist=("gun",))([pair], [{**whole, **difference}])
    assert rows[0]["reason"] == reason and notes == {"reasons": {reason or "kept": 1}}


def test_a_caption_of_too_many_pairs_is_filtered():
    pairs = [{"pair": str(index), "similarity": None} for index in range(5)]
    same = {"references": ["the dog is gone"], "change_type": "drop", "confidence": None, "rejected": None}
    rows, _ = Filters(most_alike=3)(pairs, [same] * 5)
    assert [row["reason"] for row in rows] == [None] * 3 + ["caption of too many pairs"] * 2


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=40), st.integers(0, 3))
def test_no_image_is_in_two_splits(edges, seed):
    pairs = [{"pair": str(n), "before": str(a), "after": str(b)} for n, (a, b) in enumerate(edges)]
    splits = split_pairs(pairs, val=0.2, test=0.2, seed=seed)
    where = {}
    for row in pairs:
        for side in ("before", "after"):
            assert where.setdefault(row[side], splits[row["pair"]]) == splits[row["pair"]]
    assert sum(split == "test" for split in splits.values()) <= 0.2 * len(pairs)


def test_splits_are_of_the_size_asked_for_where_groups_are_small():
    pairs = [{"pair": str(n), "before": f"{n}a", "after": f"{n}b"} for n in range(100)]
    splits = list(split_pairs(pairs, val=0.1, test=0.2, seed=0).values())
    assert np.unique(splits, return_counts=True)[1].tolist() == [20, 70, 10]
