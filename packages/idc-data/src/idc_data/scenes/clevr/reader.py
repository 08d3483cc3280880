"""The `clevr-scenes` dataset: procedural scenes with the statistics of CLEVR-Change."""

from collections.abc import Sequence
from random import Random
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import get_num_threads

from idc_data.scenes.clevr.render import render
from idc_data.scenes.clevr.wear import worn
from idc_data.scenes.clevr.words import references
from idc_data.scenes.clevr.world import sample_pair
from idc_data.scenes.reader import Pairs, Scenes
from idc_data.scenes.world import CHANGE_TYPES, Pair

_Share = Annotated[float, Field(ge=0, le=1)]


class ClevrScenes(Scenes):
    """`scenes` with the statistics of CLEVR-Change: for models that are to work on its renders, or to go on from there.

    Objects, camera, lamps, jitter and sentences are CLEVR-Change's (see `idc_data.scenes.clevr.world` and `.words`),
    images are 4:3, and materials, light and ground vary from pair to pair. The endless stream and the fixed sets are
    those of `Scenes`.

    Args:
        split: `train` (endless: any index gives a fresh pair), `val` or `test` (fixed sets).
        seed: Which world the pairs are drawn from; splits of one seed share no pair.
        image_size: Height of the images, in pixels; they are a third wider.
        train_pairs: How many pairs make a training epoch.
        val_pairs: Size of the validation set.
        test_pairs: Size of the test set.
        min_objects: Fewest objects in a scene.
        max_objects: Most objects in a scene, up to 10.
        camera_jitter: Largest move of the camera between the sides along each axis, in scene units; 1 in CLEVR-Change.
        light_jitter: Largest move of each lamp between the sides along each axis, in scene units; 1 in CLEVR-Change.
        variation: How much lamps, ground, colours and materials differ from pair to pair: 0 not at all, 1 up to half.
        wear: How much blur, noise and JPEG images have, each image its own (see `idc_data.scenes.clevr.wear`).
        relations: Share of references that say where the object is; CLEVR-Change's is 0.5.
        complete: Share of the other references that name all four attributes; CLEVR-Change leaves some out by chance.
        change_types: The change types to draw from; `none` is a distractor.
        num_references: Reference captions of a pair, 4 to 10.

    Raises:
        ValueError: A setting is out of range.
    """

    shows = "procedural scenes of CLEVR-Change's kind"
    _name, _most = "clevr-scenes", 10
    _version = 1

    def __init__(
        self,
        split: str,
        *,
        seed: int = 0,
        image_size: Annotated[int, Field(ge=16, le=4096)] = 96,
        train_pairs: Pairs = 10_000,
        val_pairs: Pairs = 500,
        test_pairs: Pairs = 2_000,
        min_objects: int = 3,
        max_objects: int = 10,
        camera_jitter: Annotated[float, Field(ge=0, le=2)] = 1.0,
        light_jitter: Annotated[float, Field(ge=0, le=2)] = 1.0,
        variation: _Share = 1.0,
        wear: _Share = 0.5,
        relations: _Share = 0.5,
        complete: _Share = 0.0,
        change_types: tuple[str, ...] = CHANGE_TYPES,
        num_references: int = 5,
    ) -> None:
        world = {
            "min_objects": min_objects,
            "max_objects": max_objects,
            "camera_jitter": camera_jitter,
            "light_jitter": light_jitter,
            "variation": variation,
        }
        sizes = {"train": train_pairs, "val": val_pairs, "test": test_pairs}
        self._wear, self._shares = wear, {"relations": relations, "complete": complete}
        self._set_up(split, seed, image_size, sizes, change_types, num_references, world, wear, self._shares)

    def _draw(self, pairs: Sequence[tuple[int, Pair[Any]]]) -> tuple[Sequence[NDArray[np.uint8]], NDArray[np.int8]]:
        states = [
            state for _, pair in pairs for state in ((pair.before, pair.view_before), (pair.after, pair.view_after))
        ]
        width = round(self._image_size * 4 / 3)
        images, shown = render(states, width, self._image_size, parallel=get_num_threads() > 1)
        rngs = [Random(f"{self._version}/{self._seed}/{self.split}/{index}/wear") for index, _ in pairs]
        return [worn(image, self._wear, rngs[row // 2]) for row, image in enumerate(images)], shown

    def _pair(self, index: int) -> tuple[Pair[Any], tuple[str, ...]]:
        rng = Random(f"{self._version}/{self._seed}/{self.split}/{index}")
        pair = sample_pair(rng, change_type=rng.choice(self._change_types), **self._world)
        return pair, references(pair, rng, self._num_references, **self._shares)
