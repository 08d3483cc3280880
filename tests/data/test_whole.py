"""Files that are there whole or not at all, whoever writes them."""

import os

import idc_data.whole
import idc_eval.whole
import pytest


@pytest.mark.parametrize("home", [idc_data.whole, idc_eval.whole])
def test_two_that_write_one_file_do_not_meet(tmp_path, home):
    target = tmp_path / "a.txt"
    with home.whole(target) as one, home.whole(target) as other:
        one.write_text("one")
        other.write_text("other")
    assert target.read_text() == "one" and [path.name for path in tmp_path.iterdir()] == ["a.txt"], "the last to end"


def test_what_a_kill_left_long_ago_is_removed_and_what_is_being_written_is_not(tmp_path):
    old, new, others = (tmp_path / name for name in (".a.txt.0.tmp.txt", ".a.txt.1.tmp.txt", ".b.txt.0.tmp.txt"))
    for path in (old, new, others):
        path.write_text("half")
    os.utime(old, (0, 0))
    os.utime(others, (0, 0))
    idc_data.whole.write_whole(tmp_path / "a.txt", b"whole")
    assert not old.exists() and new.exists() and others.exists()
