"""Fusions: turn two grids of features into the decoder's memory."""

from idc_models.fusions.concat import Concat
from idc_models.fusions.concat_difference import ConcatDifference
from idc_models.fusions.difference import Difference

__all__ = ["Concat", "ConcatDifference", "Difference"]  # older specs may name them as `idc_models.fusions:Concat`
