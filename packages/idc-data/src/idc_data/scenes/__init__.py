"""Procedural before/after scenes with exact captions, change types, boxes and truth."""

from idc_data.scenes.grammar import TEMPLATES, references
from idc_data.scenes.reader import Scenes
from idc_data.scenes.render import render
from idc_data.scenes.world import CHANGE_TYPES, Pair, sample_pair

__all__ = ["CHANGE_TYPES", "TEMPLATES", "Pair", "Scenes", "references", "render", "sample_pair"]
