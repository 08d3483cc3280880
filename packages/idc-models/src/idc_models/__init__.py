"""Change-captioning models: encoder x fusion x decoder, and the objectives that train them."""

from idc_models.loading import load
from idc_models.registry import find, names
from idc_models.spec import ModelSpec, build_captioner, complete_objectives

__all__ = ["ModelSpec", "build_captioner", "complete_objectives", "find", "load", "names"]
