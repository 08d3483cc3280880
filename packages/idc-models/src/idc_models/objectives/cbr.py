"""SCORER's cross-modal backward reasoning: predict the after image from the before image and the caption."""

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import Scale, contrast, likeness


class Cbr(Objective):
    """Cross-modal backward reasoning: contrastive loss, in nats, of after images predicted from before and caption.

    The caption, averaged over the decoder's states at its words, is concatenated with every token of the before image.
    A convolution, self-attention and another convolution predict the after image, which is compared with the after
    images of all pairs. Needs a fusion with the extras `before` and `after`. The published weight is 0.001.

    Source: Tu et al., ICCV 2023 (SCORER), section 3.4. Differs from the authors' code: its parameters are trained,
    which there are in no optimizer; pairs of the same scene are not negatives of each other; and states are averaged
    over the words, where that code includes eos and divides by the width of the token matrix.

    Args:
        widths: Widths of the fusion's extras (that of its memory) and of the decoder's states.
        vocab: Unused.
        heads: Number of attention heads, a divisor of the memory's width.
        as_published: Sum the states of all tokens including eos, and divide by the width of the token matrix, including
            padding. This costs a second pass through the decoder.

    Raises:
        ValueError: `heads` does not divide the memory's width.
    """

    fusion = "scorer"

    def __init__(
        self, widths: Widths, vocab: TokenSpace, *, heads: PositiveInt = 8, as_published: bool = False
    ) -> None:
        super().__init__(widths, vocab)
        dim = widths.memory
        if dim % heads:
            raise ValueError(
                f"objective 'cbr': the memory's width is {dim!r} and heads is {heads!r}; heads must divide it"
            )
        self.heads, self.as_published = heads, as_published
        self.mix = nn.Conv2d(dim + widths.state, dim, 1)
        self.attend = nn.MultiheadAttention(dim, heads, bias=False, batch_first=True)
        self.output = nn.Conv2d(dim, dim, 1)
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.scale = Scale()

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean over both directions.

        Raises:
            ValueError: The fusion does not provide the extras.
        """
        said = self._said(outputs)
        before = outputs.extra("before").index_select(0, outputs.pair)
        after = self.key(outputs.extra("after")).index_select(0, outputs.pair)  # projected once a pair
        mixed = torch.cat([before, said[:, None].expand(-1, before.shape[1], -1)], dim=2)
        mixed = self._pointwise(self.mix, mixed)
        queries, keys, values = (
            (mixed @ self.attend.in_proj_weight.T).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        read = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        imagined = self._pointwise(self.output, self.attend.out_proj(read))
        scores = self.scale(likeness(self.query(imagined), after))
        alike = outputs.scene[outputs.pair][:, outputs.pair]
        return (contrast(scores, alike) + contrast(scores.T, alike)) / 2

    def _said(self, outputs: Outputs) -> Float[Tensor, "n s"]:
        if not self.as_published:
            mask = outputs.mask[..., None].to(outputs.decoded.states.dtype)
            return (outputs.decoded.states * mask).sum(1) / mask.sum(1)
        tokens = outputs.tokens
        states = outputs.read(tokens).states
        mask = torch.arange(tokens.shape[1], device=tokens.device) < outputs.lengths[:, None]
        return (states * mask[..., None].to(states.dtype)).mean(1)

    @staticmethod
    def _pointwise(convolution: nn.Conv2d, tokens: Float[Tensor, "n m d"]) -> Float[Tensor, "n m e"]:
        return nn.functional.linear(tokens, convolution.weight.flatten(1), convolution.bias)
