"""What cameras and files do to pictures: blur, noise and JPEG, so that a model does not learn the renderer."""

import io
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


def worn(image: NDArray[np.uint8], amount: float, rng: Random) -> NDArray[np.uint8]:
    """Blur, add noise to and compress an image, each of them for every other image.

    Args:
        image: uint8 `h w 3`.
        amount: 0 leaves the image as it is; 1: up to 1 pixel of blur per 100 pixels of height, noise of up to 4 of 255
            levels, JPEG qualities from 60.
        rng: The only source of chance.
    """
    if not amount:
        return image
    blur, noise, quality = (rng.random() if rng.random() < 0.5 else 0.0 for _ in range(3))
    if blur:
        radius = blur * amount * image.shape[0] / 100
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if noise:
        grain = np.random.default_rng(rng.getrandbits(63)).standard_normal(image.shape, np.float32)
        image = (image + grain * (4 * noise * amount)).round().clip(0, 255).astype(np.uint8)
    if quality:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=round(100 - 40 * quality * amount))
        image = np.asarray(Image.open(file))
    return image
