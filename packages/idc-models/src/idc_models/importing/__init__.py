"""Checkpoints of published methods as checkpoints of ours: what `idc-models import` does."""
