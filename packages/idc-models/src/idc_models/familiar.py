"""How much images are like those that a model was trained on.

A model captions whatever it is given, a photo of dogs too if it was trained on rendered cubes, and its probabilities
say nothing of that. Its encoder does: the features of foreign images lie far from those of training images.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from idc_models.captioner import Captioner

DIRECTIONS = 64
"""Most directions of the features whose spread is kept on its own; all others share one."""

FOREIGN = 0.5
"""An image that is less familiar is unlike the training images: it lies beyond the limit."""

RATE = 0.005
"""Share of the validation pairs that may lie beyond the limit."""

_SPREADS = 4.0
"""How many standard deviations, of the logarithms of distances, the limit is away from the mean at least."""

_ORDINARY = 0.99
"""How familiar the median validation pair is; what is as far beyond the limit as that is within is 1 - 0.99."""


@dataclass(frozen=True)
class Familiarity:
    """What the features of training images are like: their mean and spread, and how far other images are from them.

    An image is described by the mean and the standard deviation of its encoder's grid over the cells. Its distance is
    Mahalanobis', with the covariance shrunk towards a diagonal one, since features are many and images may be few:
    Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks, NeurIPS
    2018. Differs from the paper: there are no classes, and one level of the encoder is enough.

    Attributes:
        mean: of the features f.
        scale: their standard deviations, by which they are divided.
        directions: the r directions of largest variance of what results, as rows.
        variances: along each direction, and last along any other.
        limits: natural logarithms of the median distance of a validation pair, and of the one beyond which a pair is
            foreign.
    """

    mean: Float[Tensor, " f"]
    scale: Float[Tensor, " f"]
    directions: Float[Tensor, "r f"]
    variances: Float[Tensor, " r+1"]
    limits: Float[Tensor, "2"]

    def __call__(self, before: Float[Tensor, "b gh gw d"], after: Float[Tensor, "b gh gw d"]) -> Float[Tensor, "b 2"]:
        """Say how familiar both images of pairs are: about 1 like training images, below 0.5 foreign, to 0.

        Args:
            before: the encoder's grids of the earlier images.
            after: of the later ones.
        """
        return torch.stack([self.familiar(self.distance(grid)) for grid in (before, after)], dim=1)

    def distance(self, grid: Float[Tensor, "b gh gw d"]) -> Float[Tensor, " b"]:
        """Measure how far images are from the training images, in standard deviations of those."""
        centred = (features(grid) - self.mean) / self.scale
        along = centred @ self.directions.T
        rest = (centred.square().sum(1) - along.square().sum(1)).clamp(min=0)
        return ((along.square() / self.variances[:-1]).sum(1) + rest / self.variances[-1]).sqrt()

    def familiar(self, distance: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Turn distances into how familiar such images are, 0..1."""
        typical, limit = self.limits
        beyond = (distance.clamp(min=1e-12).log() - limit) / (limit - typical)  # -1 at the median, 0 at the limit
        return torch.sigmoid(-beyond * torch.logit(torch.tensor(_ORDINARY)).to(beyond))

    def to(self, device: torch.device | str) -> "Familiarity":
        """Give the same on another device."""
        return Familiarity(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def tensors(self) -> dict[str, Tensor]:
        """Give what it consists of, by name; the directions, nearly all of it, in half precision."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "directions": self.directions.half()
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "Familiarity":
        """Make it of what `tensors` gave.

        Raises:
            ValueError: something is missing, or shapes do not fit.
        """
        names = {field.name for field in fields(cls)}
        if tensors.keys() != names:
            raise ValueError(f"it keeps {sorted(tensors)} of its training images, expected {sorted(names)}")
        mean, scale, directions, variances, limits = (tensors[field.name] for field in fields(cls))
        shapes = [tuple(value.shape) for value in (mean, scale, directions, variances, limits)]
        rows, width = len(variances) - 1 if variances.ndim else -1, mean.numel()
        if shapes != [(width,), (width,), (rows, width), (rows + 1,), (2,)] or rows < 0:
            raise ValueError(f"what it keeps of its training images has the shapes {shapes}, which do not fit")
        return cls(mean.float(), scale.float(), directions.float(), variances.float(), limits.float())


def features(grid: Float[Tensor, "b gh gw d"]) -> Float[Tensor, "b f"]:
    """Describe images by the mean and the standard deviation of their grids over the cells."""
    cells = grid.float().flatten(1, 2)
    return torch.cat([cells.mean(1), cells.std(1, correction=0)], dim=1)


@torch.no_grad()
def learn(
    model: Captioner, train: Iterable[tuple[Tensor, Tensor]], val: Iterable[tuple[Tensor, Tensor]]
) -> Familiarity:
    """Learn what the training images of a model are like, and from which distance on a pair is foreign.

    Nothing is drawn at random, and the model is left in the mode that it was in.

    Args:
        model: a trained model, on any device.
        train: batches of training pairs as evaluation sees them, without distortions: two tensors of images `b 3 h w`,
            where b may vary.
        val: batches of validation pairs.
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
    # As if there had been as many images more as features, of independent features: few images say little of many.
    trust = num / (num + width)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:DIRECTIONS].half()  # as they are kept: what is left of an image hangs on them
    along = singular[: len(directions)].square() / num
    others = (centred.square().sum() / num - along.sum()).clamp(min=0) / max(width - len(along), 1)
    variances = trust * torch.cat([along, others[None]]) + (1 - trust)
    return Familiarity(mean.float(), scale.float(), directions.float(), variances.float(), torch.zeros(2))


def _limits(distances: Float[Tensor, " n"]) -> Float[Tensor, "2"]:
    logs = distances.clamp(min=1e-12).log()
    # Few pairs have no quantile to speak of; and a limit at the median would be none.
    spread = logs.std(correction=0)
    limit = torch.maximum(logs.quantile(1 - RATE), logs.mean() + _SPREADS * spread)
    return torch.stack([logs.median(), torch.maximum(limit, logs.median() + 0.1)]).float()
