import pytest
from idc_eval import Prediction, read_predictions, write_predictions

GOOD = '{"id": "1", "hypothesis": "", "references": ["a"]}'


def test_round_trip_keeps_everything(tmp_path):
    written = [
        Prediction(id="1", hypothesis="", references=["a\nb", "c\u2028d"]),
        Prediction(
            id="ü",
            hypothesis="x",
            references=["y"],
            changed=False,
            change_type="none",
            truth={"change_type": "none", "before": []},
            log_prob=-1.5,
        ),
    ]
    path = tmp_path / "predictions.jsonl"
    write_predictions(path, written)
    assert read_predictions(path) == written
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text(GOOD)

    def breaks_off():
        yield Prediction(id="2", hypothesis="x", references=["y"])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_predictions(path, breaks_off())
    assert path.read_text() == GOOD
    assert len(list(tmp_path.iterdir())) == 1


def test_unescaped_line_separators_blank_lines_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('\ufeff{"id": "1", "hypothesis": "a\u2028b", "references": ["c\x85"]}\r\n\n', encoding="utf-8")
    assert read_predictions(path)[0].hypothesis == "a\u2028b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "2"', "not JSON"),
        ("[1]", "is not an object"),
        ('{"hypothesis": "x", "references": ["y"]}', "id is missing"),
        ('{"id": "", "hypothesis": "x", "references": ["y"]}', "id is ''"),
        ('{"id": true, "hypothesis": "x", "references": ["y"]}', "id is True: expected a valid string"),
        ('{"id": "2", "hypothesis": null, "references": ["y"]}', "hypothesis is None"),
        ('{"id": "2", "hypothesis": "x", "references": []}', r"references is \[\]"),
        ('{"id": "2", "hypothesis": "x", "references": {"y": 1}}', "expected a valid list"),
        ('{"id": "2", "hypothesis": "x", "references": ["y"], "changed": "no"}', "changed is 'no'"),
        ('{"id": "2", "hypotesis": "x", "references": ["y"]}', "did you mean 'hypothesis'"),
        (GOOD, "id '1' is already on line 1"),
    ],
)
def test_a_bad_line_is_named_with_what_was_given(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


def test_an_empty_or_binary_file_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        read_predictions(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_predictions(path)
