"""A penalty on change maps that are large."""

from jaxtyping import Float
from torch import Tensor

from idc_models.contract import Objective, Outputs


class MapSum(Objective):
    """Sum of the change map over the grid, in cells: the mean over the pairs.

    It keeps a fusion from saying that everything changed. The published weight is 0.0025.

    Source: Park, Darrell, Rohrbach, Robust Change Captioning, ICCV 2019, section 3.3 (L1 regularisation). Differs from
    the paper: the maps of distractors are penalised too; the published code leaves them out.
    """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean sum.

        Raises:
            ValueError: the fusion gives no change map.
        """
        if outputs.fused.change_map is None:
            raise ValueError("objective 'map-sum' asks for a change map, which this fusion does not give; duda does")
        return outputs.fused.change_map.float().sum((1, 2)).mean()
