"""Rendering speed of the scenes in images per second: `uv run benchmarks/render.py`."""

import os
import time

from idc_data.scenes import Scenes


def rate(size: int, max_objects: int, pairs: int = 400) -> float:
    """Measure whole pairs (states, captions, boxes and two images), in images per second."""
    scenes = Scenes("train", image_size=size, max_objects=max_objects)
    scenes.examples(range(8))
    start = time.perf_counter()
    scenes.examples(range(pairs))
    return 2 * pairs / (time.perf_counter() - start)


if __name__ == "__main__":
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    for size, max_objects in ((64, 4), (96, 4), (96, 8)):
        print(f"{size:4d} px, 2 to {max_objects} objects: {rate(size, max_objects):7.0f} images/s")
