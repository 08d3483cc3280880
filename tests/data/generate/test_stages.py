import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from idc_data.generate.answers import Answers
from idc_data.generate.ask import Asking, Local, Question, Said
from idc_data.generate.collect import ImageFolder, ImageList, collect
from idc_data.generate.filters import Filters
from idc_data.generate.loading import Halving, Weights
from idc_data.generate.pair import Consecutive, Given, Similar
from idc_data.generate.progress import Lines
from idc_data.generate.publish import split_pairs
from idc_data.generate.stage import Stages

NUMBERS = pa.schema([("number", pa.int64())])


def through(what, description, length):
    return what


@pytest.fixture
def images(photos):
    return collect(photos, ImageFolder(root=photos).paths(), through)[0]


@pytest.fixture
def asking(tmp_path):
    return Asking(Answers(tmp_path / "answers.sqlite"), Local(), through)


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


class Shouting:
    """Answers everything with a shout, and fails at the third batch."""

    identity, batch_size, in_process, prices = "shouting", 2, False, (1e6, 2e6)

    def __init__(self, fails=True):
        self.asked, self._fails = [], fails

    def ask(self, questions):
        if self._fails and len(self.asked) == 2:
            raise ConnectionError
        self.asked.append([question.content for question in questions])
        yield [(index, Said(f"{question.content}!", 1, 3)) for index, question in enumerate(questions)]


def test_answers_are_asked_for_once_and_kept_batch_by_batch(tmp_path):
    questions = [Question(text) for text in ("a", "b", "a", "c", "d", "e")]
    answers, failing, asker = Answers(tmp_path / "a.sqlite"), Shouting(), Shouting(fails=False)
    with pytest.raises(ConnectionError):
        Asking(answers, Local(), through)(failing, questions, "try")
    assert failing.asked == [["a", "b"], ["c", "d"]]
    asking = Asking(Answers(tmp_path / "a.sqlite"), Local(), through)
    assert [question.content for question in asking.unanswered(asker, questions)] == ["e"]
    assert asking.average(asker)[0] == 4 and asking.average(asker)[2:] == (1, 3)
    assert asking(asker, questions, "try") == ["a!", "b!", "a!", "c!", "d!", "e!"]
    assert asker.asked == [["e"]]
    assert asking.spent.notes() == {"asked of a model": 1, "tokens read": 1, "tokens written": 3, "cost": 7.0}
    other = Shouting(fails=False)
    other.identity = "another"
    assert asking(other, questions[:1], "try") == ["a!"] and other.asked == [["a"]]


def test_askers_are_checked_before_the_first_question_and_not_if_all_is_known(tmp_path):
    class Missing(Shouting):
        def check(self):
            raise ValueError("no such model")

    answers, asker, later = Answers(tmp_path / "a.sqlite"), Shouting(fails=False), Missing(fails=False)
    with pytest.raises(ValueError, match="no such model"):
        Asking(answers, Local(), through, check=[asker, later])(asker, [Question("a")], "try")
    assert not asker.asked
    Asking(answers, Local(), through)(asker, [Question("a")], "try")
    assert Asking(answers, Local(), through, check=[later])(asker, [Question("a")], "try") == ["a!"]


def test_images_are_decoded_by_other_threads_one_batch_ahead(photos):
    class Looking(Shouting):
        def ask(self, questions):
            self.asked.append([question.decoded is not None for question in questions])
            yield [(at, Said(str(question.images()[0].size))) for at, question in enumerate(questions)]

    asker = Looking()
    batches = [[Question(n, (str(photos / f"0_{n}.png"),)) for n in some] for some in ((0, 1), (2, 3))]
    said = [answer.text for _, some in Local().run(asker, batches) for _, answer in some]
    assert said == ["(48, 40)"] * 4 and asker.asked == [[True, True]] * 2


def test_out_of_memory_halves_the_batch_and_stays_so():
    import torch

    sizes, halving = [], Halving()

    def work(items):
        sizes.append(len(items))
        if len(items) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [item * 2 for item in items]

    assert halving(work, list(range(10))) == [item * 2 for item in range(10)]
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert halving(work, [1, 2, 3]) == [2, 4, 6] and sizes[7:] == [2, 1]


def test_out_of_memory_with_one_item_and_other_errors_are_no_reason_to_halve():
    import torch

    def too_large(items):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def broken(items):
        raise RuntimeError("shapes do not match")

    with pytest.raises(ValueError, match="four_bit"):
        Halving()(too_large, [1, 2])
    with pytest.raises(RuntimeError, match="shapes"):
        Halving()(broken, [1, 2])


def test_a_folder_of_weights_is_known_by_its_contents(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "README.md").write_text(str(folder))
    assert Weights(str(one)).identity == Weights(str(other)).identity
    assert Weights(str(one), dtype="float16").identity != Weights(str(one)).identity
    (other / "model.safetensors").write_bytes(b"better weights")
    assert Weights(str(one)).identity != Weights(str(other)).identity


def test_a_model_that_is_not_there_and_packages_that_are_not_there_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="cannot be used"):
        Weights(str(tmp_path)).check()
    monkeypatch.setattr("idc_data.generate.loading.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="accelerate and bitsandbytes"):
        Weights(str(tmp_path), four_bit=True).check()


def test_progress_in_lines():
    lines = []
    assert list(Lines(lines.append, seconds=0)(iter("abc"), "caption", 3)) == ["a", "b", "c"]
    assert lines[0].startswith("caption: 1 of 3, about ") and len(lines) == 3


def test_collect_merges_copies_and_sets_broken_files_aside(photos):
    rows, notes = collect(photos, ImageFolder(root=photos).paths(), through)
    assert len(rows) == 12 and notes["copies"] == 1
    assert [problem["path"] for problem in notes["broken"]] == ["broken.jpg"]
    assert next(row for row in rows if row["path"] == "0_0.png")["copies"] == ["copy.png"]


def test_a_list_names_images_and_none_outside(photos):
    (photos / "list.txt").write_text("0_1.png\n\n2_3.png\nmissing.png\n")
    chosen = ImageList(file=photos / "list.txt")
    rows, notes = collect(chosen.root, chosen.paths(), through)
    assert [row["path"] for row in rows] == ["0_1.png", "2_3.png"] and len(notes["broken"]) == 1
    (photos / "list.txt").write_text("../captions.json\n")
    with pytest.raises(ValueError, match="lies outside of"):
        collect(photos, ImageList(file=photos / "list.txt").paths(), through)


def test_similar_pairs_are_of_one_group_and_each_image_is_in_few(photos, images, asking):
    rows, notes = Similar(embedding="thumbnail", low=0.5, high=0.9999, per_image=2)(images, photos, asking)
    at = {row["image"]: row["path"] for row in images}
    assert rows and all(at[row["before"]][0] == at[row["after"]][0] for row in rows)
    assert max(sum(image in (row["before"], row["after"]) for row in rows) for image in at) <= 2
    assert all(0.5 <= row["similarity"] <= 0.9999 for row in rows) and notes["image full"] > 0
    # The order in which the images come makes no difference.
    again, _ = Similar(embedding="thumbnail", low=0.5, high=0.9999, per_image=2)(images[::-1], photos, asking)
    assert again == rows


def test_cells_and_graph_find_what_comparing_all_finds(photos, images, asking):
    settings = {"embedding": "thumbnail", "low": 0.5, "high": 0.9999}
    exact, _ = Similar(**settings)(images, photos, asking)
    for index in ("ivf", "hnsw"):
        assert Similar(**settings, index=index)(images, photos, asking)[0] == exact


def test_the_same_picture_is_no_pair(photos, images, asking):
    settings = {"embedding": "thumbnail", "low": 0.5, "high": 0.9999}
    none, notes = Similar(**settings, same_hash=64)(images, photos, asking)
    assert not none and notes["same picture"] > 0


def test_a_timm_model_embeds(photos, images, asking):
    settings = {"name": "timm", "model": "test_resnet.r160_in1k", "pretrained": False}
    rows, _ = Similar(embedding=settings, low=-1, high=1, same_hash=-1)(images, photos, asking)
    assert rows


def test_given_pairs(photos, images, asking, tmp_path):
    (tmp_path / "pairs.csv").write_text("before,after\n0_0.png,0_1.png\ncopy.png,0_1.png\n")
    rows, _ = Given(file=tmp_path / "pairs.csv")(images, photos, asking)
    assert len(rows) == 1, "a copy is the same image"
    (tmp_path / "pairs.csv").write_text("before,after\n0_0.png,nowhere.png\n")
    with pytest.raises(ValueError, match=r"pairs.csv:2: after 'nowhere.png' is no image"):
        Given(file=tmp_path / "pairs.csv")(images, photos, asking)
    (tmp_path / "pairs.csv").write_text("left,right\n")
    with pytest.raises(ValueError, match="no column after, before"):
        Given(file=tmp_path / "pairs.csv")(images, photos, asking)


def test_consecutive_frames(photos, images, asking):
    at = {row["image"]: row["path"] for row in images}
    rows, notes = Consecutive(step=1)(images, photos, asking)
    paths = [(at[row["before"]], at[row["after"]]) for row in rows]
    assert paths[:3] == [("0_0.png", "0_1.png"), ("0_1.png", "0_2.png"), ("0_2.png", "0_3.png")]
    assert notes == {"the very same image twice": 0} and len(rows) == 12


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({}, None),
        ({"references": ["gone"]}, "too short or too long"),
        ({"references": ["I'm sorry, I cannot compare them"]}, "refusal"),
        ({"references": ["the second image shows a cat"]}, "echo of the prompt"),
        ({"references": ["the gun is gone"]}, "blocked word"),
        ({"rejected": "blah", "references": []}, "unreadable answer"),
        ({"rejected": "contradiction: add, add", "references": []}, "contradiction of the two orders"),
        ({"references": ["le chien est parti de la maison"]}, "another language"),
        ({"confidence": 0.1}, "low confidence"),
        ({"change_type": "none"}, "change type against the verb"),
        (
            {"change_type": "none", "references": ["nothing has changed"]},
            "no change said of images that differ",
        ),
    ],
)
def test_filters(difference, reason, asking):
    pair = {"pair": "p", "similarity": 0.7}
    whole = {"references": ["the dog is gone"], "change_type": "drop", "confidence": 0.9, "rejected": None}
    rows, notes = Filters(blocklist=("gun",))([pair], [None], [{**whole, **difference}], asking)
    assert rows[0]["reason"] == reason and notes["reasons"] == {reason or "kept": 1}


def test_a_caption_of_too_many_pairs_is_filtered(asking):
    pairs = [{"pair": str(index), "similarity": None} for index in range(5)]
    same = {"references": ["the dog is gone"], "change_type": "drop", "confidence": None, "rejected": None}
    rows, _ = Filters(most_alike=3)(pairs, [None] * 5, [same] * 5, asking)
    assert [row["reason"] for row in rows] == [None] * 3 + ["sentence of too many pairs"] * 2


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
