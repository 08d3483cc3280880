"""Procedural scenes with CLEVR-Change's objects, cameras, lamps and sentences."""

from idc_data.scenes.clevr.reader import ClevrScenes

__all__ = ["ClevrScenes"]
