"""Measures how similar images are to a model's training images.

A model captions any image, even a photo of dogs if it was trained on rendered cubes, and its probabilities do not show
the mismatch. The encoder's features do: those of foreign images lie far from those of training images.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from idc_models.captioner import Captioner

DIRECTIONS = 64
"""Maximum number of feature directions with a variance of their own; all others share one."""

FOREIGN = 0.5
"""An image below this familiarity is unlike the training images: its distance is beyond the limit."""

RATE = 0.005
"""Share of the validation pairs that may lie beyond the limit."""

_SPREADS = 4.0
"""Least distance of the limit from the mean, in standard deviations of the logarithms of distances."""

_ORDINARY = 0.99
"""Familiarity of the median validation pair; an image equally far on the other side of the limit has 1 - 0.99."""


@dataclass(frozen=True)
class Familiarity:
    """Mean and covariance of the features of training images, to measure how far other images are from them.

    The features of an image are the mean and the standard deviation of its encoder's grid over the cells. The distance
    is Mahalanobis'; the covariance is shrunk towards a diagonal one, because images may be fewer than features. Source:
    Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks, NeurIPS
    2018. Differs from the paper: no classes, and one level of the encoder.

    Attributes:
        mean: Mean of the f features.
        scale: Their standard deviations, by which they are divided.
        directions: The r directions of largest variance of the scaled features, as rows.
        variances: Variance along each direction, and last along any other direction.
        limits: Natural logarithms of two distances: the median of validation pairs, and the one beyond which a pair is
            foreign.
    """

    mean: Float[Tensor, " f"]
    scale: Float[Tensor, " f"]
    directions: Float[Tensor, "r f"]
    variances: Float[Tensor, " r+1"]
    limits: Float[Tensor, "2"]

    def __call__(self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]) -> Float[Tensor, "b 2"]:
        """Compute how familiar both images of each pair are, 0..1: near 1 like training images, below 0.5 foreign.

        Args:
            before: The encoder's grids of the before images.
            after: The encoder's grids of the after images.
        """
        return torch.stack([self.familiar(self.distance(grid)) for grid in (before, after)], dim=1)

    def distance(self, grid: Float[Tensor, "b gh gw d"]) -> Float[Tensor, " b"]:
        """Compute the distance of images from the training images, in standard deviations of the latter."""
        centred = (features(grid) - self.mean) / self.scale
        along = centred @ self.directions.T
        rest = (centred.square().sum(1) - along.square().sum(1)).clamp(min=0)
        return ((along.square() / self.variances[:-1]).sum(1) + rest / self.variances[-1]).sqrt()

    def familiar(self, distance: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Convert distances into familiarities, 0..1."""
        typical, limit = self.limits
        beyond = (distance.clamp(min=1e-12).log() - limit) / (limit - typical)  # -1 at the median, 0 at the limit
        return torch.sigmoid(-beyond * torch.logit(torch.tensor(_ORDINARY)).to(beyond))

    def to(self, device: torch.device | str) -> "Familiarity":
        """Return a copy on another device."""
        return Familiarity(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def tensors(self) -> dict[str, Tensor]:
        """Return the attributes by name; the directions, nearly all of the data, in half precision."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "directions": self.directions.half()
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "Familiarity":
        """Restore an instance from the result of `tensors`.

        Raises:
            ValueError: A tensor is missing or unknown, or the shapes do not fit.
        """
        names = {field.name for field in fields(cls)}
        if tensors.keys() != names:
            raise ValueError(f"its statistics of training images are {sorted(tensors)}, expected {sorted(names)}")
        mean, scale, directions, variances, limits = (tensors[field.name] for field in fields(cls))
        shapes = [tuple(value.shape) for value in (mean, scale, directions, variances, limits)]
        rows, width = len(variances) - 1 if variances.ndim else -1, mean.numel()
        if shapes != [(width,), (width,), (rows, width), (rows + 1,), (2,)] or rows < 0:
            raise ValueError(f"its statistics of training images have shapes that do not fit each other: {shapes}")
        return cls(mean.float(), scale.float(), directions.float(), variances.float(), limits.float())


def features(grid: Float[Tensor, "b gh gw d"]) -> Float[Tensor, "b f"]:
    """Compute the mean and the standard deviation of grids over their cells."""
    cells = grid.float().flatten(1, 2)
    return torch.cat([cells.mean(1), cells.std(1, correction=0)], dim=1)


@torch.no_grad()
def learn(
    model: Captioner, train: Iterable[tuple[Tensor, Tensor]], val: Iterable[tuple[Tensor, Tensor]]
) -> Familiarity:
    """Compute the statistics of a model's training images, and the distance beyond which a pair is foreign.

    Deterministic; the model stays in the mode that it is in.

    Args:
        model: A trained model, on any device.
        train: Batches of training pairs without augmentation: two tensors of images `b 3 h w`, where b may vary.
        val: Batches of validation pairs.
    """
    device, training = next(model.parameters()).device, model.training

    def grids(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        return (model.encode(before.to(device), after.to(device)) for before, after in batches)

    model.eval()
    known = torch.cat([features(grid) for pair in grids(train) for grid in pair])
    found = _spread(known.double().cpu())
    here = found.to(device)
    farther = torch.cat([torch.maximum(here.distance(before), here.distance(after)) for before, after in grids(val)])
    model.train(training)
    return replace(found, limits=_limits(farther.double().cpu()))


def _spread(known: Float[Tensor, "n f"]) -> Familiarity:
    num, width = known.shape
    mean, scale = known.mean(0), known.std(0, correction=0)
    scale = scale + 1e-3 * scale.mean() + 1e-6
    centred = (known - mean) / scale
    # Equivalent to adding as many images as there are features, with independent features of variance 1.
    trust = num / (num + width)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:DIRECTIONS].half()  # as stored, because the variances depend on the rounding
    along = singular[: len(directions)].square() / num
    others = (centred.square().sum() / num - along.sum()).clamp(min=0) / max(width - len(along), 1)
    variances = trust * torch.cat([along, others[None]]) + (1 - trust)
    return Familiarity(mean.float(), scale.float(), directions.float(), variances.float(), torch.zeros(2))


def _limits(distances: Float[Tensor, " n"]) -> Float[Tensor, "2"]:
    logs = distances.clamp(min=1e-12).log()
    # Few pairs have no reliable quantile, and the limit must lie above the median.
    spread = logs.std(correction=0)
    limit = torch.maximum(logs.quantile(1 - RATE), logs.mean() + _SPREADS * spread)
    return torch.stack([logs.median(), torch.maximum(limit, logs.median() + 0.1)]).float()
