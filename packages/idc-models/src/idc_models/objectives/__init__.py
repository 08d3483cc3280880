"""Objectives: what is minimised; the spec gives each of them its weight."""

from idc_models.objectives.caption import Caption
from idc_models.objectives.cosine import Cosine

__all__ = ["Caption", "Cosine"]  # older specs may name them as `idc_models.objectives:Caption`
