"""A reward for decoders that look at more than one thing."""

from jaxtyping import Float
from torch import Tensor

from idc_models.contract import Objective, Outputs

_SMALLEST = 1e-12
"""A weight that has vanished has no logarithm."""


class AttentionEntropy(Objective):
    """Negative entropy of the decoder's attention, in nats: the sum over a caption's tokens, mean over the captions.

    Minimised, it keeps the dynamic speaker from always choosing the same slot. The published weight is 0 or 0.0001.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, section 3.3. Differs from the paper: weights
    that have vanished count 0, where the published code has no number; distractors count too.
    """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the negative entropy.

        Raises:
            ValueError: the decoder does not tell its attention while it is trained.
        """
        weights = outputs.decoded.attention
        if weights is None:
            raise ValueError(
                "objective 'attention-entropy' asks for the decoder's attention, which this decoder does not give in"
                " training; dynamic-speaker, lstm and gru do"
            )
        weights = weights.float()
        negative = (weights * weights.clamp(min=_SMALLEST).log()).sum(2)
        return (negative * outputs.mask).sum(1).mean()
