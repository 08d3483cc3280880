"""A penalty on similar captions for different changes."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from idc_models.contract import Objective, Outputs


class Cosine(Objective):
    """Mean positive cosine similarity between captions of pairs that share no reference, in [0, 1].

    A caption is represented by the mean of the decoder states over its tokens. A model that writes the same caption for
    every pair has similar representations and is penalised; pairs that share a reference are exempt. Zero if all pairs
    of the batch share a reference.
    """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean over all combinations of two captions whose pairs share no reference."""
        mask = outputs.mask[..., None].to(outputs.decoded.states.dtype)
        pooled = (outputs.decoded.states * mask).sum(1) / mask.sum(1).clamp(min=1)
        directions = functional.normalize(pooled.float(), dim=1)
        apart = ~outputs.shared[outputs.pair][:, outputs.pair]
        similar = (directions @ directions.T).clamp(min=0)
        return (similar * apart).sum() / apart.sum().clamp(min=1)
