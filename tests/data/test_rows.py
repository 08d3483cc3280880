"""metadata.jsonl as people write it: with a byte order mark, columns of their own, and without `changed`."""

import json
import logging

import pytest
from idc_data import Folder, check_dataset, write_layout
from idc_data.rows import read_rows


@pytest.fixture
def root(tmp_path, make_example):
    root = tmp_path / "set"
    write_layout(root, [make_example(n, split=split) for split in ("train", "val") for n in range(3)])
    return root


def rewrite(root, change, split="val"):
    """Change the lines of a split: `change` gets and gives the list of their values."""
    file = root / split / "metadata.jsonl"
    rows = change([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def without(rows, *names):
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def captioned(rows, *captions):
    """The first rows, one for each caption, without what else says whether they changed."""
    rows = without(rows, "changed", "change_type", "regions")[: len(captions)]
    return [row | {"references": [text]} for row, text in zip(rows, captions, strict=True)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks_are_read(root, encoding):
    file = root / "val/metadata.jsonl"
    text = file.read_text(encoding="utf-8")
    file.write_bytes(("\ufeff" * (encoding == "utf-16-be") + text.replace("\n", "\r\n")).encode(encoding))
    assert len(Folder("val", root=root)) == 3
    assert check_dataset(root) == []


def test_another_encoding_is_named_with_its_line(root):
    file = rewrite(root, lambda rows: [row | {"references": ["città"]} for row in rows])
    file.write_bytes(file.read_text(encoding="utf-8").encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.jsonl: line 1.*save the file as UTF-8"):
        Folder("val", root=root)
    assert [problem.severity for problem in check_dataset(root)] == ["error"]


def test_columns_of_ones_own_go_to_provenance_with_one_note(root, caplog):
    for split in ("train", "val"):
        rewrite(
            root, lambda rows: [row | {"city": "Bari", "provenance": {"shot": n}} for n, row in enumerate(rows)], split
        )
    with caplog.at_level(logging.WARNING):
        train, val = (Folder(split, root=root) for split in ("train", "val"))
    assert train[1].provenance == val[1].provenance == {"city": "Bari", "shot": 1}
    assert len(caplog.messages) == 1 and "'city'" in caplog.messages[0]
    notes = check_dataset(root)
    assert [note.severity for note in notes] == ["note"] and "'city'" in notes[0].message


def test_a_misspelt_column_is_named(root):
    rewrite(root, lambda rows: [row | {"change_typ": "move"} for row in without(rows, "change_type")])
    with pytest.raises(ValueError, match=r"jsonl:1: unknown column 'change_typ', did you mean 'change_type'\?"):
        Folder("val", root=root)


def test_changed_is_what_the_change_type_says_or_else_the_captions(root):
    rewrite(root, lambda rows: without(rows, "changed"))
    assert [example.changed for example in Folder("val", root=root)] == [True, True, False]
    said = ("the red square moved", "there is no difference", "nothing has changed")
    rewrite(root, lambda rows: captioned(rows, *said))
    examples = list(Folder("val", root=root))
    assert [example.changed for example in examples] == [True, False, False]
    assert [example.change_type for example in examples] == ["change", "none", "none"]
    assert check_dataset(root) == []


def test_change_type_follows_changed(root):
    rewrite(root, lambda rows: [row | {"change_type": None} for row in rows])
    assert [example.change_type for example in Folder("val", root=root)] == ["change", "change", "none"]


def test_in_another_language_changed_is_asked_for_or_listed(root):
    said = ("il quadrato rosso si è spostato", "non è cambiato nulla", "La scena è identica.")
    rewrite(root, lambda rows: captioned(rows, *said))
    with pytest.raises(ValueError, match=r"jsonl:1: changed is missing.*no_change\.txt"):
        Folder("val", root=root)
    assert [(problem.line, problem.severity) for problem in check_dataset(root)] == [(1, "error")]
    plain = Folder("train", root=root).fingerprint
    (root / "no_change.txt").write_text("\ufeffnon è cambiato nulla\nla scena è identica\n", encoding="utf-8")
    assert [example.changed for example in Folder("val", root=root)] == [True, False, False]
    assert check_dataset(root) == []
    assert Folder("train", root=root).fingerprint != plain


def test_chinese_sentences_are_found_without_blanks(root):
    rewrite(root, lambda rows: captioned(rows, "左侧的树消失了", "场景没有变化。", "两幅图 没有 变化"))
    (root / "no_change.txt").write_text("没有变化\n", encoding="utf-8")
    assert [example.changed for example in Folder("val", root=root)] == [True, False, False]


def test_a_single_sentence_is_a_reference(root):
    rewrite(root, lambda rows: [row | {"references": "the car moved"} for row in rows])
    assert Folder("val", root=root)[0].references == ("the car moved",)
    assert [problem for problem in check_dataset(root) if problem.severity == "error"] == []
    rewrite(root, lambda rows: [row | {"references": " "} for row in rows])
    with pytest.raises(ValueError, match="references are blank"):
        Folder("val", root=root)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"references": 5}, "references is 5: expected a list"),
        ({"regions": {"before": [], "after": "x"}}, "regions.after is 'x': expected a list"),
        ({"regions": {"before": [7], "after": []}}, "regions.before.0 is 7: expected a list"),
    ],
)
def test_what_should_be_a_list_is_said_in_plain_words(root, values, said):
    rewrite(root, lambda rows: [row | values for row in rows])
    with pytest.raises(ValueError, match=f"1: {said}$"):
        Folder("val", root=root)


def test_a_blank_reference_is_left_out(root):
    rewrite(root, lambda rows: [row | {"references": ["", *row["references"], " "]} for row in rows])
    assert all(text.strip() for example in Folder("val", root=root) for text in example.references)
    rewrite(root, lambda rows: [row | {"references": [" "]} for row in rows])
    with pytest.raises(ValueError, match="jsonl:1: all references are blank"):
        Folder("val", root=root)


@pytest.mark.parametrize("line", ["[1]", "7", "{oops", "[" * 100_000, '{"id": "\\ud800"}'])
def test_a_line_that_is_none_is_an_error_of_one_line(root, line):
    file = root / "val/metadata.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"jsonl:4: ") as caught:
        read_rows(file)
    assert "\n" not in str(caught.value)
    assert [problem.line for problem in check_dataset(root) if problem.severity == "error"] == [4]


def test_only_line_ends_end_a_line(root):
    rewrite(root, lambda rows: [row | {"references": ["one\u2028sentence"]} for row in rows])
    assert Folder("val", root=root)[0].references == ("one\u2028sentence",)
