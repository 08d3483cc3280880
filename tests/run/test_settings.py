"""The settings of decoding are written once: the command, the page and the API have them from one table, or agree."""

import re
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest
from idc_models.serving.inference import Decoding, PairCaptioner
from idc_models.serving.settings import SETTINGS

import idc_run.serving
from idc_run.serving.caption_cli import caption

PAGE = (Path(idc_run.serving.__file__).parent / "page" / "app.html").read_text(encoding="utf-8")
NUMBERS = [setting for setting in SETTINGS.values() if setting.kind is not bool]


def test_the_api_takes_every_setting_with_its_default():
    taken = signature(PairCaptioner.caption).parameters
    assert {name: taken[name].default for name in SETTINGS} == {each.name: each.default for each in SETTINGS.values()}
    assert {each.name: each.default for each in fields(Decoding)}.items() <= {
        each.name: each.default for each in SETTINGS.values()
    }.items()


def test_the_command_has_an_option_for_every_setting_but_the_map():
    options = {option.name: option for option in caption.params}
    assert options.keys() & SETTINGS.keys() == SETTINGS.keys() - {"change_map"}
    for setting in NUMBERS:
        assert (options[setting.name].type.min, options[setting.name].type.max) == (setting.least, setting.most)
    assert options["num_captions"].default == 1


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda each: each.name)
def test_the_page_lets_people_give_what_the_server_takes(setting):
    field = re.search(rf'<input [^>]*id="{setting.name}"[^>]*>', PAGE)
    assert field
    least, most = (float(re.search(rf'{side}="([^"]+)"', field[0])[1]) for side in ("min", "max"))
    if setting.name == "seed":  # JavaScript has no whole numbers of 63 bits
        assert (least, most <= setting.most) == (0, True)
    else:
        assert (least, most) == (setting.least, setting.most)


def test_a_value_is_held_to_its_range():
    assert SETTINGS["beam"].allows(10) and not SETTINGS["beam"].allows(11) and not SETTINGS["beam"].allows(0)
    assert SETTINGS["sample"].allows(True) and SETTINGS["sample"].allows(False)
