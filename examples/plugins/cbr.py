"""CBR in outline: before and the caption together reconstruct after.

Source: Tu et al., Self-supervised Cross-view Representation Reconstruction for Change Captioning, ICCV 2023.
"""

import torch
from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from scorer import contrast, likeness
from torch import Tensor, nn


class Cbr(Objective):
    """Cross-modal backward reasoning over the decoder's states and the extras `before` and `after` of a fusion."""

    def __init__(self, widths: Widths, vocab: TokenSpace, *, heads: int = 4) -> None:
        super().__init__(widths, vocab)
        self.mix = nn.Linear(widths.memory + widths.state, widths.memory)
        self.output = nn.Linear(widths.memory, widths.memory)
        self.attend = nn.MultiheadAttention(widths.memory, heads, batch_first=True)

    def forward(self, outputs: Outputs) -> Tensor:
        """Compute the contrastive loss of the reconstruction against the after images of other pairs."""
        mask = outputs.mask[..., None]
        said = (outputs.decoded.states * mask).sum(1) / mask.sum(1)
        before, after = (outputs.extra(side)[outputs.pair] for side in ("before", "after"))
        mixed = self.mix(torch.cat([before, said[:, None].expand(-1, before.shape[1], -1)], dim=2))
        match = likeness(self.output(self.attend(mixed, mixed, mixed)[0]), after)
        return contrast(match, outputs.scene[outputs.pair][:, outputs.pair])
