"""DIRL's cross-modal contrastive regularization: words are like what is read for them, and not for other captions."""

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from idc_models.contract import Decoded, Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import contrast


class Ccr(Objective):
    """How hard it is to find, among all captions, what was read for the words of each, in nats.

    The words are the mean over a caption of the decoder's extra `words`, what was read that of `read`; the decoder
    `dirl` gives both. The published weight is 0.3 (CLEVR-Change) or 0.05 (CLEVR-DC).

    Source: Tu et al., ECCV 2024 (DIRL). Differs from the paper: captions of pairs of one scene are no counter-examples
    of each other, and means are over the words; the authors' code takes padding in.

    Args:
        widths: unused; every objective is told them.
        vocab: unused likewise.
        temperature: what products are divided by.
        as_published: take the mean over the whole width of the tokens, padding included; it costs a second pass through
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
            ValueError: the decoder does not give the extras.
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
                f"objective 'ccr' asks for the decoder's extra {name!r}, set decoder: dirl; it gives: {known}"
            )
        weights = mask[..., None].to(decoded.extras[name].dtype)
        return (decoded.extras[name] * weights).sum(1) / weights.sum(1)
