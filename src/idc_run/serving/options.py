"""The decoding settings as command-line options."""

from collections.abc import Callable
from typing import Any

import click
from idc_models.serving.settings import SETTINGS, Setting


def decoding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each decoding setting except the change map, for which commands have their own options."""
    for setting in reversed([each for each in SETTINGS.values() if each.name != "change_map"]):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[..., Any]:
    flag = f"--{setting.name.replace('_', '-')}"
    if setting.kind is bool:
        return click.option(flag, is_flag=True, help=setting.help)
    ranges = click.IntRange if setting.kind is int else click.FloatRange
    known = setting.default is not None
    kind = ranges(setting.least, setting.most)  # pyright: ignore[reportArgumentType]
    return click.option(flag, type=kind, default=setting.default, show_default=known, help=setting.help)
