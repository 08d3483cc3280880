"""Converts checkpoints of published methods to our format, for `idc-models import`."""
