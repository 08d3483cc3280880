"""Precomputed features of images, as part of examples."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idc_data.example import ChangeExample

Features = Path | np.ndarray
"""Features of one image, in any shape: a `.npy` file, or an array."""


def load_features(example: ChangeExample) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Read the features of both sides of a pair: float16 if stored as such, otherwise float32.

    Raises:
        ValueError: A file is missing or is not a `.npy` file of floats, the shapes of the sides differ, or a number is
            not finite.
    """
    assert example.inputs is not None
    before, after = (_read(side, example.id) for side in example.inputs)
    if before.shape != after.shape:
        raise ValueError(
            f"the features of pair {example.id!r} have shapes {list(before.shape)} (before) and {list(after.shape)} "
            "(after), expected equal shapes: compute both with the same settings"
        )
    return before, after


def check_shapes(ids: list[str], features: list[Float[Tensor, "..."]]) -> None:
    """Check that the features of several pairs can be stacked.

    Raises:
        ValueError: The features of a pair have another shape than those of the first pair.
    """
    for name, each in zip(ids, features, strict=True):
        if each.shape != features[0].shape:
            raise ValueError(
                f"the features of pair {name!r} have shape {list(each.shape)}, those of {ids[0]!r} "
                f"{list(features[0].shape)}, expected one shape for all pairs: compute them with the same settings"
            )


def _read(source: Features, pair: str) -> Float[Tensor, "..."]:
    name = f"the features of pair {pair!r}" if isinstance(source, np.ndarray) else f"features {str(source)!r}"
    if isinstance(source, Path):
        try:
            values = np.load(source, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise ValueError(f"{name} are missing, but pair {pair!r} needs them: compute them first") from error
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{name} cannot be read, expected a .npy file: {error}") from error
    else:
        values = source
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating) or not values.size:
        kind = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{name} are {kind}, expected an array of floats")
    kept = np.float16 if values.dtype == np.float16 else np.float32
    array = np.array(values, dtype=kept)  # a copy, so that the file is not kept open
    if not _finite(array):
        raise ValueError(f"{name} contain a number that is not finite, expected finite numbers: compute them again")
    return torch.from_numpy(array)


def _finite(array: np.ndarray) -> bool:
    """Return whether all numbers are finite, by their exponent bits: 14 times faster than `np.isfinite` for float16."""
    integer, exponent = (np.uint16, 0x7C00) if array.dtype == np.float16 else (np.uint32, 0x7F800000)
    return bool((array.view(integer) & exponent).max() < exponent)
