"""SCORER's contrast between the two images of a pair and those of other pairs."""

from jaxtyping import Float
from torch import Tensor

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import Scale, contrast, likeness


class CrossView(Objective):
    """How hard it is to find each image's other side among all pairs of the batch, in nats, both ways averaged.

    What is compared are the queries of one side and the keys of the other in a fusion's last layer: its extras
    `before_queries`, `before_keys`, `after_queries` and `after_keys`. The published weight is 0.1.

    Source: Tu et al., ICCV 2023 (SCORER), section 3.2.2. Differs from the paper: pairs of one scene are no
    counter-examples of each other.

    Args:
        widths: unused; every objective is told them.
        vocab: unused likewise.
    """

    fusion = "scorer"

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__(widths, vocab)
        self.scale = Scale()

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean of both directions.

        Raises:
            ValueError: the fusion does not give the extras.
        """
        losses = [
            contrast(
                self.scale(likeness(outputs.extra(f"{own}_queries"), outputs.extra(f"{other}_keys"))), outputs.scene
            )
            for own, other in (("before", "after"), ("after", "before"))
        ]
        return (losses[0] + losses[1]) / 2
