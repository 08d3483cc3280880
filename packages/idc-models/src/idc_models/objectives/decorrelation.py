"""DIRL's decorrelation: correlate equal features of both images, and decorrelate different ones."""

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from idc_models.contract import Objective, Outputs, Rate, TokenSpace, Widths


class Decorrelation(Objective):
    """Squared distance of the correlation matrix between the features of both images from the identity.

    The tokens of both images (the fusion's extras `before` and `after`) pass through a small network and are
    standardised over all tokens of the batch. The published weight is 0.5 (CLEVR-Change) or 0.03 (CLEVR-DC).

    Source: Tu et al., ECCV 2024 (DIRL), after Zbontar et al., Barlow Twins, ICML 2021. Differs from the authors' code:
    computed for losses only, not at every generated word. A constant feature counts as zero instead of causing a
    division by zero.

    Args:
        widths: Width of the fusion's extras: that of its memory.
        vocab: Unused.
        hidden: Hidden width of the network; None means four times that of the memory; published: 2048.
        dropout: Dropout rate between its two layers.
        off_diagonal: Weight of the correlation of different features.
    """

    fusion = "dirl"

    def __init__(
        self,
        widths: Widths,
        vocab: TokenSpace,
        *,
        hidden: PositiveInt | None = None,
        dropout: Rate = 0.1,
        off_diagonal: NonNegativeFloat = 0.003,
    ) -> None:
        super().__init__(widths, vocab)
        dim, self.off_diagonal = widths.memory, off_diagonal
        width = hidden or 4 * dim
        self.network = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, dim))

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the weighted sum of squares.

        Raises:
            ValueError: The fusion does not provide the extras.
        """
        before, after = (self._standard(outputs.extra(side)) for side in ("before", "after"))
        correlation = before.T @ after / len(before)
        diagonal = correlation.diagonal()
        off = correlation.square().sum() - diagonal.square().sum()
        return (diagonal - 1).square().sum() + self.off_diagonal * off

    def _standard(self, tokens: Float[Tensor, "b m d"]) -> Float[Tensor, "n d"]:
        flat = self.network(tokens).flatten(0, 1).float()
        spread = flat.std(0)  # unbiased, as published
        return (flat - flat.mean(0)) / torch.where(spread > 0, spread, 1)
