"""The fields of the page's form, generated from the table of settings."""

from html import escape

from idc_models.serving.settings import SETTINGS, Setting

_OF_THE_PAGE = {"num_captions": {"value": 4}, "seed": {"max": 999_999_999}}
"""Deviations of the page: it shows several captions, and JavaScript has no 63-bit integers."""

_ORDER = ("num_captions", "beam", "max_length", "no_repeat", "sample", "temperature", "seed")
"""Order of the fields: the most used first, related ones together; others follow."""


def fields() -> str:
    """Return a labelled HTML field for each setting with a label."""
    shown = [setting for setting in SETTINGS.values() if setting.label]
    order = {name: place for place, name in enumerate(_ORDER)}
    return "\n".join(_field(setting) for setting in sorted(shown, key=lambda each: order.get(each.name, len(order))))


def _field(setting: Setting) -> str:
    title = f' title="{escape(setting.help)}"'
    if setting.kind is bool:
        box = f'<input type="checkbox" role="switch" id="{setting.name}">'
        return f'<label class="switch"{title}>{box}<span></span> {escape(setting.label)}</label>'
    known = {"placeholder": "model default"} if setting.default is None else {"value": setting.default}
    step = {"step": setting.least} if setting.kind is float else {}
    limits = {"min": setting.least, "max": setting.most, **step}
    attributes = {"type": "number", "id": setting.name, **limits, **known, **_OF_THE_PAGE.get(setting.name, {})}
    written = " ".join(f'{name}="{_plain(value)}"' for name, value in attributes.items())
    return f"<label{title}>{escape(setting.label)} <input {written}></label>"


def _plain(value: object) -> object:
    """Format 1.0 as 1, as browsers do."""
    return format(value, "g") if isinstance(value, float) else value
