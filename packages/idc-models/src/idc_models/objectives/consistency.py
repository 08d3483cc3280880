"""CARD's consistency: the common features of both images of a pair must match."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import contrast


class Consistency(Objective):
    """Contrastive loss, in nats: match the common features of both images of a pair among all pairs.

    Compares the fusion's extras `before_common` and `after_common` by cosine similarity over a learned temperature, and
    averages both directions. The published weight is 0.001.

    Source: Tu et al., Context-aware Difference Distilling for Multi-change Captioning, ACL 2024. Differs
    from the paper: pairs of the same scene are not negatives of each other.

    Args:
        widths: Unused.
        vocab: Unused.
    """

    fusion = "card"

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__(widths, vocab)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean over both directions.

        Raises:
            ValueError: The fusion does not provide the extras.
        """
        if self.training:  # same as clamping after each optimizer step
            self.temperature.data.clamp_(0.001, 0.5)
        before, after = (normalize(outputs.extra(f"{side}_common").float(), dim=1) for side in ("before", "after"))
        scores = before @ after.T / self.temperature
        return (contrast(scores, outputs.scene) + contrast(scores.T, outputs.scene)) / 2
