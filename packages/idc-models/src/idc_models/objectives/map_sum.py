"""A penalty on large change maps."""

from jaxtyping import Float
from torch import Tensor

from idc_models.contract import Objective, Outputs


class MapSum(Objective):
    """Sum of the change map over the grid, in cells, averaged over the pairs.

    It keeps a fusion from marking everything as changed. The published weight is 0.0025.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, section 3.3 (L1 regularisation). Differs from
    the published code: maps of distractors are penalised too.
    """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean sum.

        Raises:
            ValueError: The fusion provides no change map.
        """
        if outputs.fused.change_map is None:
            raise ValueError("objective 'map-sum' needs a change map, which this fusion lacks; set fusion: duda or nct")
        return outputs.fused.change_map.float().sum((1, 2)).mean()
