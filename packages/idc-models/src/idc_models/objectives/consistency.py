"""CARD's consistency: what an image has in common with its other side is what the other side has in common with it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import contrast


class Consistency(Objective):
    """How hard it is to find each image's other side among all pairs by what they have in common, in nats.

    What is compared are the extras `before_common` and `after_common` of a fusion, by their cosine over a learned
    temperature; both ways are averaged. The published weight is 0.001.

    Source: Tu et al., Context-aware Difference Distilling for Multi-change Captioning, ACL 2024. Differs
    from the paper: pairs of one scene are no counter-examples of each other.

    Args:
        widths: unused; every objective is told them.
        vocab: unused likewise.
    """

    fusion = "card"

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__(widths, vocab)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean of both directions.

        Raises:
            ValueError: the fusion does not give the extras.
        """
        if self.training:  # as after the last step of the optimizer
            self.temperature.data.clamp_(0.001, 0.5)
        before, after = (normalize(outputs.extra(f"{side}_common").float(), dim=1) for side in ("before", "after"))
        scores = before @ after.T / self.temperature
        return (contrast(scores, outputs.scene) + contrast(scores.T, outputs.scene)) / 2
