"""Objectives: the terms of the loss, weighted by the spec."""

from idc_models.objectives.caption import Caption
from idc_models.objectives.cosine import Cosine

__all__ = ["Caption", "Cosine"]  # older specs may name them as `idc_models.objectives:Caption`
