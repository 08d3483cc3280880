"""A penalty on attention that is concentrated on one slot."""

from jaxtyping import Float
from torch import Tensor

from idc_models.contract import Objective, Outputs

_SMALLEST = 1e-12
"""Lower limit of weights, because zero has no logarithm."""


class AttentionEntropy(Objective):
    """Negative entropy of the decoder's attention, in nats, summed over a caption's tokens and averaged over captions.

    It keeps the dynamic speaker from always choosing the same slot. The published weight is 0 or 0.0001.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, section 3.3. Differs from the paper: a weight
    of zero contributes 0, where the published code yields NaN; distractors are included.
    """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the negative entropy.

        Raises:
            ValueError: The decoder does not return its attention in training.
        """
        weights = outputs.decoded.attention
        if weights is None:
            raise ValueError(
                "objective 'attention-entropy' needs the decoder's attention, which this decoder does not return in "
                "training; choose dynamic-speaker, lstm or gru"
            )
        weights = weights.float()
        negative = (weights * weights.clamp(min=_SMALLEST).log()).sum(2)
        return (negative * outputs.mask).sum(1).mean()
