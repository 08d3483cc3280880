"""Paired transforms, applied equally to both images and to the boxes."""

import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from idc_data.example import Box, ChangeExample, Regions
from idc_data.features import load_features
from idc_data.images import load_pair
from idc_data.sides import REMEDY, unsafe
from idc_data.spec import Flip

Side = UInt8[Tensor, "3 h w"] | Float[Tensor, "..."]
"""One side of a pair as input of a model: an image, or precomputed features."""

_Window = tuple[float, float, float, float]  # left, top, right, bottom as fractions of the image


class PairedTransform:
    """Scale both images of a pair to one size, with the same random crop and flip.

    Without augmentation nothing is cropped: an image that is not square is distorted, because the change may be at its
    border. Sides of different sizes are cropped by the same fractions.

    Args:
        image_size: Height and width of the output, in pixels.
        flip: Mirror half of the pairs. Only for captions that never mention sides, see `idc_data.sides`; `safe` skips
            this check.
        crop: Maximum share of width and height that a random crop removes, 0 (none) to below 1. Known regions of the
            change are never cropped.
        color_jitter: Maximum relative change of brightness and contrast, sampled independently for each side to imitate
            a change of light, 0 (none) to below 1. Hues are kept, because captions name colours.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(self, image_size: int, *, flip: Flip = False, crop: float = 0.0, color_jitter: float = 0.0) -> None:
        if image_size < 1 or not 0 <= crop < 1 or not 0 <= color_jitter < 1:
            raise ValueError(
                "expected image_size >= 1 and crop and color_jitter from 0 to below 1, got "
                f"{image_size}, {crop} and {color_jitter}"
            )
        self.image_size, self.flip, self.crop, self.color_jitter = image_size, flip, crop, color_jitter

    def __call__(self, example: ChangeExample, rng: Random) -> tuple[Side, Side, Regions | None]:
        """Transform one pair; the same `rng` state yields the same result.

        Returns:
            Before, after, and the regions in pixels of the output. Features are returned unchanged, with regions in
            pixels of an image of the output size.

        Raises:
            ValueError: An image is damaged; `flip` is on and a reference mentions a side or its language is not
                supported; or features are damaged or would have to be augmented.
        """
        if example.inputs is not None:
            return self._features(example, rng)
        before, after = load_pair(example.before, example.after)
        if self.flip is True and (problem := unsafe(example.references)):
            raise ValueError(f"flip is on, but in the references of {example.id!r}, {problem}; {REMEDY}")
        regions = example.regions
        boxes = []
        if regions:
            boxes += [_fractions(box, before) for box in regions.before]
            boxes += [_fractions(box, after) for box in regions.after]
        window = self._draw_window(boxes, rng)
        mirrored = bool(self.flip) and rng.random() < 0.5
        return (
            self._image(before, window, mirrored, rng),
            self._image(after, window, mirrored, rng),
            regions
            and Regions(
                before=self._boxes(regions.before, before, window, mirrored),
                after=self._boxes(regions.after, after, window, mirrored),
            ),
        )

    def _features(self, example: ChangeExample, rng: Random) -> tuple[Side, Side, Regions | None]:
        """Return features, which cannot be augmented, and the regions without augmentation."""
        for name in ("flip", "crop", "color_jitter"):
            if value := getattr(self, name):
                raise ValueError(
                    f"data.{name} is {value!r}, but the model sees precomputed features of pair {example.id!r}, which "
                    f"cannot be augmented: remove data.{name}, or use the images"
                )
        before, after = load_features(example)
        regions = self(replace(example, inputs=None), rng)[2] if example.regions else None
        return before, after, regions

    def _draw_window(self, boxes: list[_Window], rng: Random) -> _Window:
        """Return a random window with the image's aspect ratio, extended along an axis if the boxes need it."""
        if not self.crop:
            return 0.0, 0.0, 1.0, 1.0
        kept = 1 - self.crop * rng.random()
        sides = []
        for low, high in ((0, 2), (1, 3)):
            first = min((box[low] for box in boxes), default=1.0)
            last = max((box[high] for box in boxes), default=0.0)
            length = min(1.0, max(kept, last - first))
            start = rng.uniform(max(0.0, last - length), max(0.0, min(first, 1 - length)))
            sides.append((start, min(1.0, start + length)))
        (left, right), (top, bottom) = sides
        return left, top, right, bottom

    def _image(
        self, image: UInt8[np.ndarray, "h w 3"], window: _Window, mirrored: bool, rng: Random
    ) -> UInt8[Tensor, "3 size size"]:
        left, top, right, bottom = _pixels(window, image)
        pixels = torch.from_numpy(image[top:bottom, left:right].transpose(2, 0, 1).copy())
        if pixels.shape[1:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
        if mirrored:
            pixels = pixels.flip(2)
        return _relight(pixels, self.color_jitter, rng) if self.color_jitter else pixels

    def _boxes(
        self, boxes: Iterable[Box], image: UInt8[np.ndarray, "h w 3"], window: _Window, mirrored: bool
    ) -> tuple[Box, ...]:
        left, top, right, bottom = _pixels(window, image)
        wide, high = self.image_size / (right - left), self.image_size / (bottom - top)
        moved = []
        for x, y, width, height in boxes:
            x = right - x - width if mirrored else x - left
            moved.append((x * wide, (y - top) * high, width * wide, height * high))
        return tuple(moved)


def _fractions(box: Box, image: UInt8[np.ndarray, "h w 3"]) -> _Window:
    x, y, width, height = box
    high, wide = image.shape[:2]
    return max(0.0, x / wide), max(0.0, y / high), min(1.0, (x + width) / wide), min(1.0, (y + height) / high)


def _pixels(window: _Window, image: UInt8[np.ndarray, "h w 3"]) -> tuple[int, int, int, int]:
    """Return the window in whole pixels, rounded outwards."""
    height, width = image.shape[:2]
    left, top, right, bottom = window
    return int(left * width), int(top * height), math.ceil(right * width), math.ceil(bottom * height)


def _relight(pixels: UInt8[Tensor, "3 h w"], most: float, rng: Random) -> UInt8[Tensor, "3 h w"]:
    brightness, contrast = (1 + most * rng.uniform(-1, 1) for _ in range(2))
    light = pixels.float() * brightness
    grey = light.mean()
    return ((light - grey) * contrast + grey).round().clamp(0, 255).to(torch.uint8)
