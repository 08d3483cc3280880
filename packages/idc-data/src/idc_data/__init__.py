"""Change-captioning data: read, render and write before/after pairs, tokenize and batch them.

Names are imported on first use, so that `idc_data.images`, which served models need, has few dependencies.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idc_data.check import Problem, check_dataset
    from idc_data.example import Box, ChangeExample, Reader, Regions
    from idc_data.images import load_image
    from idc_data.layout import Folder, write_layout
    from idc_data.readers import READERS, open_reader, resolve_reader

__all__ = [
    "READERS",
    "Box",
    "ChangeExample",
    "Folder",
    "Problem",
    "Reader",
    "Regions",
    "check_dataset",
    "load_image",
    "open_reader",
    "resolve_reader",
    "write_layout",
]

_HOMES = {
    "check": ("Problem", "check_dataset"),
    "example": ("Box", "ChangeExample", "Reader", "Regions"),
    "images": ("load_image",),
    "layout": ("Folder", "write_layout"),
    "readers": ("READERS", "open_reader", "resolve_reader"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"idc_data.{module}"), name)
    raise AttributeError(f"module 'idc_data' has no attribute {name!r}")
