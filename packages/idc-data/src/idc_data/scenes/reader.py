"""The `scenes` dataset: an endless stream of pairs for training, fixed sets for validation and test."""

import json
import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from random import Random
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import get_num_threads

from idc_data.example import Box, ChangeExample, Regions
from idc_data.scenes.grammar import references
from idc_data.scenes.render import render
from idc_data.scenes.world import CHANGE_TYPES, Pair, sample_pair

Pairs = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Scenes(Sequence[ChangeExample]):
    """Pairs of small 3-D scenes in CLEVR's vocabulary, every change type (and no change) equally often.

    The same (settings, split, index) gives the same pixels and words on any number of workers.

    Args:
        split: `train` (endless: any index gives a fresh pair), `val` or `test` (fixed sets).
        seed: Which world the pairs are drawn from; splits of one seed share no pair.
        image_size: Width and height of the images, in pixels.
        train_pairs: How many pairs make a training epoch.
        val_pairs: Size of the validation set.
        test_pairs: Size of the test set.
        min_objects: Fewest objects in a scene.
        max_objects: Most objects in a scene, up to 8.
        camera_jitter: Largest turn of each side's camera about the scene, in degrees.
        light_jitter: Largest relative change of each side's brightness (the light also turns: 6 degrees for 0.1).
        change_types: The change types to draw from; `none` is a distractor.
        num_references: Reference captions of a pair, 4 to 10.

    Raises:
        ValueError: A setting is out of range.
    """

    shows = "procedural scenes"
    _name, _most = "scenes", 8
    _version = 2  # counted up whenever the same settings give other pixels or words

    def __init__(
        self,
        split: str,
        *,
        seed: int = 0,
        image_size: Annotated[int, Field(ge=16, le=4096)] = 64,
        train_pairs: Pairs = 10_000,
        val_pairs: Pairs = 500,
        test_pairs: Pairs = 2_000,
        min_objects: int = 2,
        max_objects: int = 4,
        camera_jitter: float = 2.0,
        light_jitter: float = 0.1,
        change_types: tuple[str, ...] = CHANGE_TYPES,
        num_references: int = 5,
    ) -> None:
        world = {
            "min_objects": min_objects,
            "max_objects": max_objects,
            "camera_jitter": camera_jitter,
            "light_jitter": light_jitter,
        }
        sizes = {"train": train_pairs, "val": val_pairs, "test": test_pairs}
        self._set_up(split, seed, image_size, sizes, change_types, num_references, world)

    def _set_up(
        self,
        split: str,
        seed: int,
        image_size: int,
        sizes: dict[str, int],
        change_types: tuple[str, ...],
        num_references: int,
        world: dict[str, Any],
        *others: Any,
    ) -> None:
        name, low, high = self._name, world["min_objects"], world["max_objects"]
        if split not in sizes:
            raise ValueError(f"{name}: split is {split!r}, expected one of {', '.join(sizes)}")
        if not 1 <= low <= high <= self._most:
            raise ValueError(f"{name}: {low} to {high} objects, expected 1 <= min <= max <= {self._most}")
        if {"add", "drop", "move"} & set(change_types) and high < 2:
            raise ValueError(f"{name}: max_objects is 1, expected at least 2 for objects to come and go")
        if unknown := set(change_types) - set(CHANGE_TYPES):
            raise ValueError(f"{name}: change_types has {sorted(unknown)}, expected some of {', '.join(CHANGE_TYPES)}")
        if not change_types or not 4 <= num_references <= 10 or min(sizes.values()) < 1 or image_size < 16:
            raise ValueError(
                f"{name}: expected at least one change type, 4 to 10 references, 1 pair per split and 16 pixels, got "
                f"{change_types}, {num_references}, {sizes} and {image_size}"
            )
        self.split = split
        self.endless = split == "train"
        self._length = sizes[split]
        self._seed, self._image_size, self._num_references = seed, image_size, num_references
        self._change_types = tuple(change_types)
        self._world = world
        settings = [self._version, split, seed, image_size, num_references, self._change_types, self._world, *others]
        if not self.endless:
            settings.append(self._length)
        self.fingerprint = sha256(json.dumps(settings).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> ChangeExample:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self.endless and not -self._length <= index < self._length:
            raise IndexError(index)
        return self.examples([index % self._length if not self.endless else index])[0]

    def examples(self, indices: Iterable[int]) -> list[ChangeExample]:
        """Render several pairs at once, which is faster than one by one."""
        chosen = [(index, *self._pair(index)) for index in indices]
        images, shown = self._draw([(index, pair) for index, pair, _ in chosen])
        return [
            ChangeExample(
                id=f"{self.split}-{index:06d}",
                before=images[2 * row],
                after=images[2 * row + 1],
                references=captions,
                changed=pair.change_type != "none",
                change_type=pair.change_type,
                split=self.split,
                regions=Regions(
                    before=_boxes(shown[2 * row], pair.changed_before),
                    after=_boxes(shown[2 * row + 1], pair.changed_after),
                ),
                provenance={
                    "generator": f"{self._name}/{self._version}",
                    "seed": self._seed,
                    "index": index,
                    "camera_turn": round(abs(math.degrees(pair.view_after.azimuth - pair.view_before.azimuth)), 3),
                },
                truth=pair.truth(),
            )
            for row, (index, pair, captions) in enumerate(chosen)
        ]

    def captions(self, num: int) -> list[str]:
        """The references of the first `num` pairs, without rendering: what a tokenizer is trained on."""
        return [caption for of_pair in self.references(num) for caption in of_pair]

    def references(self, num: int) -> list[tuple[str, ...]]:
        """The references of each of the first `num` pairs, without rendering."""
        return [self._pair(index)[1] for index in range(num)]

    def _draw(self, pairs: Sequence[tuple[int, Pair[Any]]]) -> tuple[Sequence[NDArray[np.uint8]], NDArray[np.int8]]:
        """Render both sides of each pair, one after the other."""
        states = [
            state for _, pair in pairs for state in ((pair.before, pair.view_before), (pair.after, pair.view_after))
        ]
        # PyTorch has one thread in a loader's worker, and where other processes use the other cores.
        images, shown = render(states, self._image_size, parallel=get_num_threads() > 1)
        return list(images), shown

    def _pair(self, index: int) -> tuple[Pair[Any], tuple[str, ...]]:
        rng = Random(f"{self._version}/{self._seed}/{self.split}/{index}")
        pair = sample_pair(rng, change_type=rng.choice(self._change_types), **self._world)
        return pair, references(pair, rng, self._num_references)


def _boxes(shown: NDArray[np.int8], index: int | None) -> tuple[Box, ...]:
    """The box around what is visible of one object: x, y, width, height in pixels."""
    if index is None:
        return ()
    rows, columns = np.nonzero(shown == index + 1)
    if not len(rows):
        return ()
    left, top = int(columns.min()), int(rows.min())
    return ((float(left), float(top), float(columns.max() + 1 - left), float(rows.max() + 1 - top)),)
