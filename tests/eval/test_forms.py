"""Files as others write them: COCO results and annotations, other names, what `idc-caption` writes."""

import json
import unicodedata

import pytest
from click.testing import CliRunner
from idc_eval import read_predictions
from idc_eval.cli import main

RESULTS = [{"image_id": 17, "caption": "a red car appeared"}, {"image_id": 23, "caption": "nothing has changed"}]
SAID = {17: ["a red car has come", "there is a new red car"], 23: ["no change"]}
COCO = {
    "info": {},
    "images": [{"id": 17, "filename": "17.png"}, {"id": 23, "filename": "23.png"}],
    "annotations": [{"id": 5, "image_id": name, "caption": text} for name, texts in SAID.items() for text in texts],
}


@pytest.fixture
def read(tmp_path):
    """Reads rows from a file: lines, or one JSON value; gives the predictions and what is told of them."""

    def run(content, annotations=None, name=None, encoding="utf-8"):
        lines = isinstance(content, list) and name is None
        text = "".join(json.dumps(row) + "\r\n" for row in content) if lines else json.dumps(content)
        file = tmp_path / (name or "said.jsonl")
        file.write_bytes(text.encode(encoding))
        other = None
        if annotations is not None:
            other = tmp_path / "annotations.json"
            other.write_text(json.dumps(annotations), encoding=encoding)
        told = []
        return read_predictions(file, annotations=other, tell=told.append), told

    return run


def line(**fields):
    return {"id": "1", "hypothesis": "a red car appeared", "references": ["a red car has come"]} | fields


@pytest.mark.parametrize(
    ("results", "annotations"),
    [
        (RESULTS, COCO),
        (RESULTS, SAID),
        ({row["image_id"]: [row["caption"]] for row in RESULTS}, SAID),
        ({row["image_id"]: [{"caption": row["caption"]}] for row in RESULTS}, COCO),
        ({row["image_id"]: row["caption"] for row in RESULTS}, {17: [{"caption": SAID[17][0]}], 23: "no change"}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_coco_results_and_annotations_are_read(read, results, annotations, encoding):
    found, told = read(results, annotations, name="results.json", encoding=encoding)
    assert [p.id for p in found] == ["17", "23"] and told == []
    assert [p.hypothesis for p in found] == ["a red car appeared", "nothing has changed"]
    assert found[0].references[0] == "a red car has come" and found[1].references == ["no change"]


def test_a_data_sets_own_lines_are_annotations_with_their_labels(read, tmp_path):
    metadata = tmp_path / "metadata.jsonl"
    rows = [
        {"id": str(name), "references": texts, "changed": name == 17, "split": "test"} for name, texts in SAID.items()
    ]
    metadata.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.json").write_text(json.dumps(RESULTS))
    assert [p.changed for p in read_predictions(tmp_path / "r.json", annotations=metadata)] == [True, False]


@pytest.mark.parametrize(
    ("results", "annotations", "message"),
    [
        (RESULTS, None, "--annotations"),
        (COCO, RESULTS, "these are COCO annotations"),
        (SAID, COCO, "2 captions, expected the model's one caption"),
        (RESULTS, {"0": ["x"]}, r"2 of 2 pairs of .* such as '17' \(it has '0'\)"),
        (RESULTS, [1], "is not an object"),
        (RESULTS, [{"image_id": 17}], "expected the id of a pair"),
        (RESULTS, {}, "no references in this file"),
        ([line()], COCO, "already has references"),
        ([RESULTS[0], RESULTS[0]], COCO, "id '17' is already on entry 1"),
        ([1], COCO, "is not an object"),
    ],
)
def test_files_that_do_not_belong_together_are_one_line(read, results, annotations, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(results, annotations, name="results.json")
    assert "\n" not in str(caught.value)


def test_pairs_without_a_result_are_told_once_and_not_scored(read):
    found, (told,) = read(RESULTS[:1], COCO, name="results.json")
    assert len(found) == 1 and "1 more pairs, such as '23'" in told


def test_integer_ids_and_a_reference_as_text_are_read(read):
    (found,), _ = read([line(id=17, references="a red car has come")])
    assert found.id == "17" and found.references == ["a red car has come"]


def test_other_fields_are_passed_over_with_one_note_that_says_what_may_be_meant(read):
    rows = [line(id=str(row), model="mine", filename="17.png", chnaged=True) for row in range(3)]
    found, (told,) = read(rows)
    assert len(found) == 3 and "'chnaged' (did you mean 'changed'?), 'filename', 'model'" in told


def test_ids_in_either_unicode_form_are_one(read):
    composed, split = (unicodedata.normalize(form, "café 1") for form in ("NFC", "NFD"))
    found, _ = read([{"image_id": split, "caption": "x"}], {composed: ["y"]}, name="results.json")
    assert found[0].id == composed


# What `idc-caption --jsonl IN --out said.jsonl` writes: the line's own fields, and the answer under free names.
ANSWER = {"caption": "the square moved", "log_prob": -1.5, "familiar": 0.9, "alternatives": [], "note": None}


def test_answers_to_plain_pairs_are_read(read):
    rows = [{"before": "a/1.png", "after": "b/1.png", "references": ["the square moved"], **ANSWER, "changed": 0.98}]
    (found,), told = read(rows)
    assert (found.hypothesis, found.log_prob, found.familiar) == ("the square moved", -1.5, 0.9)
    assert (found.id, found.before, found.changed) == ("a/1.png b/1.png", "a/1.png", None) and told == []


def test_labels_of_the_user_are_labels_and_the_models_answer_goes_by_its_own_name(read):
    given = {"id": "test-0", "before_file_name": "0_b.png", "after_file_name": "0_a.png", "changed": True}
    given |= {"references": ["the square moved"], "change_type": "move", "provenance": {"seed": 1}}
    given |= {"regions": {"before": [[8, 8, 16, 16]], "after": []}}
    (found,), told = read([given | ANSWER | {"model_changed": 0.98}])
    assert (found.id, found.changed, found.change_type, found.before) == ("test-0", True, "move", "0_b.png")
    assert found.regions is None and told == []


def test_a_users_caption_is_the_reference_where_the_models_has_another_name(read):
    answer = {f"model_{key}" if key in ("caption", "log_prob") else key: value for key, value in ANSWER.items()}
    (found,), _ = read([{"before": "1.png", "after": "2.png", "caption": "it moved", "log_prob": 7.0} | answer])
    assert found.references == ["it moved"] and found.hypothesis == "the square moved" and found.log_prob == -1.5


@pytest.mark.parametrize("name", ["references", "captions", "reference"])
def test_references_have_several_names(read, name):
    assert read([{name: ["it moved"], **ANSWER}])[0][0].references == ["it moved"]
    assert read([{name: "it moved", **ANSWER}])[0][0].id == "1"


def test_pairs_with_an_error_are_told_once_and_never_scored_by_the_users_caption(read):
    good = {"before": "1.png", "after": "2.png", "references": ["it moved"]}
    bad = {"before": "3.png", "after": "4.png", "caption": "it moved", "error": "3.png is no image"}
    found, (told,) = read([good | ANSWER, bad])
    assert len(found) == 1 and "1 of 2 pairs have an error" in told and "3.png is no image" in told
    with pytest.raises(ValueError, match="1 of 1 pairs have an error"):
        read([bad])


def test_images_elsewhere_are_not_looked_for_in_answers(read):
    assert read([{"before": "/a/1.png", "after": "../2.png", "references": ["x"], **ANSWER}])[0][0].before is None


def test_every_command_that_reads_predictions_reads_results_of_others(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    (tmp_path / "annotations.json").write_text(json.dumps(COCO))
    file, annotations = str(tmp_path / "results.json"), str(tmp_path / "annotations.json")
    for command in (["score", file], ["compare", file, file, "--draws", "100"], ["seeds", file], ["report", file]):
        ended = CliRunner().invoke(main, [*command, "--annotations", annotations, "--metrics", "rouge-l"])
        assert ended.exit_code == 0, ended.output


@pytest.mark.parametrize("name", [[1], {"a": 1}, 1.5, None])
def test_an_id_of_another_kind_is_a_mistake_where_references_are_in_another_file(read, name):
    with pytest.raises(ValueError, match="1 of 1 pairs"):
        read([{"id": name, "caption": "a red car appeared"}], SAID)
