"""Scales images to a model's input size."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor


def squeeze(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[Tensor, "3 size size"]:
    """Scale an image to a model's input size, as in evaluation: without cropping, changing the aspect ratio."""
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    if pixels.shape[1:] != (size, size):
        pixels = F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]
    return pixels
