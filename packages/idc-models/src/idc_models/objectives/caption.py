"""The cross-entropy of captions, the main objective."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from idc_models.contract import Objective, Outputs, Rate, TokenSpace, Widths

_IGNORED = -100
"""Target id of padding; no token has this id."""


class Caption(Objective):
    """Cross-entropy of the reference captions, in nats per token, averaged over all tokens except padding.

    Args:
        widths: Unused.
        vocab: Unused.
        label_smoothing: Probability mass spread evenly over the vocabulary (Szegedy et al., CVPR 2016).
    """

    def __init__(self, widths: Widths, vocab: TokenSpace, *, label_smoothing: Rate = 0.0) -> None:
        super().__init__(widths, vocab)
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the cross-entropy over the captions of the batch."""
        return functional.cross_entropy(
            outputs.decoded.logits.flatten(0, 1).float(),  # mixed precision must not round the log-probabilities
            outputs.targets.masked_fill(~outputs.mask, _IGNORED).flatten(),
            ignore_index=_IGNORED,
            label_smoothing=self.label_smoothing,
        )
