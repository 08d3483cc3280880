"""CARD's independence: the individual features of both images must be statistically independent."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from idc_models.contract import Objective, Outputs


class Independence(Objective):
    """Dependence between a fusion's extras `before_own` and `after_own` over the batch; 0 if independent.

    It is the Hilbert-Schmidt independence criterion (HSIC) of the normalised extras, with Gaussian kernels of width 1.
    The published weight is 0.001. For a batch of one it is 0.

    Source: Tu et al., Context-aware Difference Distilling for Multi-change Captioning, ACL 2024, after
    Gretton et al., Measuring Statistical Dependence with Hilbert-Schmidt Norms, ALT 2005.
    """

    fusion = "card"

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the criterion.

        Raises:
            ValueError: The fusion does not provide the extras.
        """
        before, after = (_centred_kernel(outputs.extra(f"{side}_own")) for side in ("before", "after"))
        return (before * after).sum() / max(len(before) - 1, 1) ** 2


def _centred_kernel(values: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
    directions = normalize(values.float(), dim=1)
    kernel = (directions @ directions.T - 1).exp()  # half the squared distance of unit vectors is 1 - cosine
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
