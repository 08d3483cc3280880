"""DIRL's cross-modal contrastive regularization: match words with the image features that they attend to."""

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from idc_models.contract import Decoded, Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import contrast


class Ccr(Objective):
    """Contrastive loss, in nats: match the words of each caption with the visual features read for them.

    The two sides are the means, over a caption, of the decoder's extras `words` and `read`; the decoder `dirl` provides
    both. The published weight is 0.3 (CLEVR-Change) or 0.05 (CLEVR-DC).

    Source: Tu et al., ECCV 2024 (DIRL). Differs from the authors' code: captions of the same scene are not negatives of
    each other, and means are over the words only, without padding.

    Args:
        widths: Unused.
        vocab: Unused.
        temperature: Divisor of the dot products.
        as_published: Average over all columns of the token matrix, including padding. This costs a second pass through
            the decoder.
    """

    decoder = "dirl"

    def __init__(
        self, widths: Widths, vocab: TokenSpace, *, temperature: PositiveFloat = 0.5, as_published: bool = False
    ) -> None:
        super().__init__(widths, vocab)
        self.temperature, self.as_published = temperature, as_published

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the cross-entropy over the captions.

        Raises:
            ValueError: The decoder does not provide the extras.
        """
        if self.as_published:
            decoded = outputs.read(outputs.tokens)
            mask = torch.ones_like(outputs.tokens, dtype=torch.bool)
        else:
            decoded, mask = outputs.decoded, outputs.mask
        words, read = (self._mean(decoded, name, mask) for name in ("words", "read"))
        scores = words @ read.T / self.temperature
        return contrast((scores + scores.T) / 2, outputs.scene[outputs.pair][:, outputs.pair])

    @staticmethod
    def _mean(decoded: Decoded, name: str, mask: Tensor) -> Float[Tensor, "n d"]:
        if name not in decoded.extras:
            known = ", ".join(sorted(decoded.extras)) or "none"
            raise ValueError(
                f"objective 'ccr' needs the extra {name!r}, but the decoder provides: {known}; set decoder: dirl"
            )
        weights = mask[..., None].to(decoded.extras[name].dtype)
        return (decoded.extras[name] * weights).sum(1) / weights.sum(1)
