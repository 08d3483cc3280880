from pathlib import Path

import matplotlib
import numpy as np
import pytest
from idc_data import fonts
from idc_data.fonts import Fonts, find_font
from idc_data.show import contact_sheet

FOLDER = Path(matplotlib.get_data_path()) / "fonts/ttf"
SANS, SIGNS = FOLDER / "DejaVuSans.ttf", FOLDER / "cmsy10.ttf"  # the first has Cyrillic and Arabic, neither has Chinese


@pytest.fixture(params=[(), (SIGNS, SANS)], ids=["no fonts", "some fonts"])
def machine(request, monkeypatch):
    """Machines with other fonts than this one."""
    found = Fonts(request.param)
    monkeypatch.setattr(fonts, "installed", lambda: found)


def test_a_font_is_taken_that_has_the_letters():
    found = Fonts([SIGNS, SANS])
    assert found.find('the "red" ball') == (None, 'the "red" ball')
    assert found.find("naïve") == (SANS, "naïve")
    assert found.find("красный шар") == (SANS, "красный шар")
    assert found.find("красный шар", first=SANS) == (SANS, "красный шар")
    assert found.find("كرة حمراء") == (SANS, "كرة حمراء")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("左侧的停车场，移动了", "[10 letters: no font]"),
        ("the 红 ball\n of 3 左 侧 m", "the [1 letter: no font] ball\n of 3 [2 letters: no font] m"),
        ("लाल गेंद", "[4 letters: no font]"),  # vowel signs are no letters
        ("", ""),
    ],
)
def test_letters_of_no_font_are_counted_and_not_drawn_as_boxes(text, drawn):
    assert Fonts([SIGNS]).find(text) == (None, drawn)


def test_invisible_characters_need_no_font():
    text = "a\tb\nc\u200bd\ufe0f"
    assert Fonts([]).find(text) == (None, text)


def test_the_two_forms_of_unicode_are_one():
    assert Fonts([SANS]).find("cafe\u0301") == (SANS, "café")


def test_one_warning_names_a_package(caplog):
    machine = Fonts([SANS])
    for text in ("左侧的停车场移动了", "右下角", "красный", "तू"):
        machine.find(text)
    assert len(caplog.messages) == 1 and "fonts-noto-cjk" in caplog.text
    caplog.clear()
    Fonts([]).find("तू")
    assert len(caplog.messages) == 1 and "fonts-noto-core" in caplog.text


def test_damaged_fonts_are_passed_over(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    assert Fonts([tmp_path / "a.ttf", tmp_path / "gone.ttf", SANS]).find("красный") == (SANS, "красный")


def test_fonts_of_this_machine_are_found(tmp_path, monkeypatch):
    plain, odd = tmp_path / "fonts/deep/b.TTF", tmp_path / "fonts/a-Bold.ttf"
    plain.parent.mkdir(parents=True)
    for path in (plain, odd):
        path.symlink_to(SANS)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    assert fonts.installed.__wrapped__().find("красный") == (plain, "красный")


@pytest.mark.usefixtures("machine")
def test_pictures_of_any_script_are_drawn_on_any_machine(make_example):
    references = ("左侧的停车场移动了" * 20, "красный шар исчез " * 9)
    sheet = contact_sheet([make_example(0, id="图像-1", references=references, change_type="移动")])
    text = np.asarray(sheet)[-24 * 6 :]
    assert (text < 128).any()
    font, drawn = find_font("the left 左", 14)
    assert drawn == "the left [1 letter: no font]" and font.getlength(drawn) > 0
