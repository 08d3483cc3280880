"""Images as a model takes them."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor


def squeeze(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[Tensor, "3 size size"]:
    """Brings an image to the size that a model sees, as its evaluation does: nothing is cut off."""
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    if pixels.shape[1:] != (size, size):
        pixels = F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]
    return pixels
