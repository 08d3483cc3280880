"""The settings of decoding are written once: the command, the page and the API have them from one table, or agree."""

import dataclasses
import re

from idc_models.serving.settings import SETTINGS, Decoding

from idc_run.serving.caption_cli import caption
from idc_run.serving.form import fields

NUMBERS = [setting for setting in SETTINGS.values() if setting.kind is not bool]


def test_decoding_has_every_setting_but_the_one_of_the_pair_with_its_default():
    ours = {each.name: each.default for each in dataclasses.fields(Decoding)}
    assert ours == {name: each.default for name, each in SETTINGS.items() if name != "align"}


def test_the_command_has_an_option_for_every_setting_but_the_map():
    options = {option.name: option for option in caption.params}
    assert options.keys() & SETTINGS.keys() == SETTINGS.keys() - {"change_map"}
    for setting in NUMBERS:
        assert (options[setting.name].type.min, options[setting.name].type.max) == (setting.least, setting.most)
    assert options["num_captions"].default == 1


def test_the_page_has_a_field_for_what_people_set_with_its_range():
    form = fields()
    assert sorted(re.findall(r' id="(\w+)"', form)) == sorted(SETTINGS.keys() - {"align", "change_map"})
    assert form.index("num_captions") < form.index("beam")
    assert 'id="temperature" min="0.05" max="10" step="0.05" value="1"' in form
    assert 'id="beam" min="1" max="10" placeholder=' in form
    assert 'id="num_captions" min="1" max="10" value="4"' in form
    assert 'id="seed" min="0" max="999999999" value="0"' in form  # JavaScript has no whole numbers of 63 bits


def test_a_value_is_held_to_its_range():
    assert SETTINGS["beam"].allows(10) and not SETTINGS["beam"].allows(11) and not SETTINGS["beam"].allows(0)
    assert SETTINGS["sample"].allows(True) and SETTINGS["sample"].allows(False)
