"""SCORER's cross-view contrastive alignment of the two images of a pair."""

from jaxtyping import Float
from torch import Tensor

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import Scale, contrast, likeness


class CrossView(Objective):
    """Contrastive loss, in nats: match the two images of a pair among all pairs of the batch, in both directions.

    Compares the queries of one side with the keys of the other in the fusion's last layer: its extras `before_queries`,
    `before_keys`, `after_queries` and `after_keys`. The published weight is 0.1.

    Source: Tu et al., ICCV 2023 (SCORER), section 3.2.2. Differs from the paper: pairs of the same scene are not
    negatives of each other.

    Args:
        widths: Unused.
        vocab: Unused.
    """

    fusion = "scorer"

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__(widths, vocab)
        self.scale = Scale()

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean over both directions.

        Raises:
            ValueError: The fusion does not provide the extras.
        """
        losses = [
            contrast(
                self.scale(likeness(outputs.extra(f"{own}_queries"), outputs.extra(f"{other}_keys"))), outputs.scene
            )
            for own, other in (("before", "after"), ("after", "before"))
        ]
        return (losses[0] + losses[1]) / 2
