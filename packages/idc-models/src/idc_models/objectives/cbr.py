"""SCORER's backward reasoning: what was before and what is said together give what came after."""

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.contrast import Scale, contrast, likeness


class Cbr(Objective):
    """Cross-modal backward reasoning: how hard it is to find what came after by before and caption, in nats.

    The caption, the mean of the decoder's states over its words, is put beside every token of before; a convolution,
    self-attention and another convolution make of them what may have come after, which is compared with what came
    after in every pair. It asks a fusion for the extras `before` and `after`. The published weight is 0.001.

    Source: Tu et al., ICCV 2023 (SCORER), section 3.4. Differs from the paper: its parameters are trained, which in the
    authors' code are in no optimizer, pairs of one scene are no counter-examples of each other, and the states' mean is
    over the words, eos not read, where the authors' code reads it too and divides by the width of the tokens.

    Args:
        widths: of the fusion's extras (as wide as its memory) and of the decoder's states.
        vocab: unused; every objective is told it.
        heads: attention heads, a divisor of the memory's width.
        as_published: sum the states of all tokens, eos included, and divide by the width of the token matrix, padding
            included; it costs a second pass through the decoder.

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
        """Compute the mean of both directions.

        Raises:
            ValueError: the fusion does not give the extras.
        """
        said = self._said(outputs)
        before, after = (outputs.extra(side).index_select(0, outputs.pair) for side in ("before", "after"))
        mixed = torch.cat([before, said[:, None].expand(-1, before.shape[1], -1)], dim=2)
        mixed = self._pointwise(self.mix, mixed)
        queries, keys, values = (
            (mixed @ self.attend.in_proj_weight.T).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        read = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        imagined = self._pointwise(self.output, self.attend.out_proj(read))
        scores = self.scale(likeness(self.query(imagined), self.key(after)))
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
