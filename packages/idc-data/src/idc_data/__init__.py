"""Change-captioning data: read, render and write before/after pairs, tokenize and batch them."""

from idc_data.check import Problem, check_dataset
from idc_data.example import Box, ChangeExample, Reader, Regions, load_image
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
