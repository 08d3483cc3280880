import pytest
import torch
from idc_models.attention import StackedAttention
from idc_models.encoders.cnn import CnnEncoder
from idc_models.encoders.torchvision import TorchvisionEncoder
from idc_models.fusions import Concat, Difference
from idc_models.positions import GridTable, grid_coordinates, with_coordinates
from torch import nn


def test_coordinates_begin_at_minus_one_and_stop_short_of_one():
    places = grid_coordinates(2, 4, like=torch.zeros(1))
    assert places[..., 0].tolist() == [[-1, -0.5, 0, 0.5]] * 2  # x, along the columns
    assert places[..., 1].tolist() == [[-1] * 4, [0] * 4]  # y, along the rows


def test_coordinates_are_the_last_two_channels_of_a_grid():
    grid = torch.rand(3, 2, 4, 5)
    located = with_coordinates(grid)
    assert located[..., :5].equal(grid)
    assert all(row.equal(grid_coordinates(2, 4, like=grid)) for row in located[..., 5:])


@pytest.mark.parametrize(
    "plugin", [lambda **kw: CnnEncoder(widths=(4, 8), **kw), lambda **kw: TorchvisionEncoder(**kw)], ids=["cnn", "tv"]
)
def test_an_encoder_says_where_its_cells_are(plugin):
    encoder = plugin(coordinates=True).eval()
    assert encoder.dim == plugin().dim + 2
    grid = encoder(torch.rand(1, 3, 64, 96))
    assert grid.shape[3] == encoder.dim
    assert grid[0, ..., -2:].equal(grid_coordinates(*grid.shape[1:3], like=grid))


@pytest.mark.parametrize("plugin", [Concat, Difference])
def test_a_fusion_says_where_its_cells_are(plugin):
    fusion = plugin(3, dim=8, layers=0, coordinates=True).eval()
    nn.init.zeros_(fusion.position_scale)
    memory = fusion(torch.ones(1, 4, 4, 3), torch.ones(1, 4, 4, 3)).memory
    assert not memory[0, 0].allclose(memory[0, -1])
    assert plugin(3, dim=None, coordinates=True).memory_dim == plugin(3, dim=None).memory_dim + 2


def test_learned_positions_tell_column_and_row():
    table = GridTable(6, 5)
    places = table(2, 4)
    assert places.shape == (2, 4, 6)
    assert places[1, 3].equal(torch.cat([table.columns.weight[3], table.rows.weight[1]]))
    with pytest.raises(ValueError, match=r"grid is 6 x 2 .* 5 x 5.*grid_side"):
        table(6, 2)


def test_stacked_attention_is_the_attention_of_torch():
    ours, torchs = StackedAttention(8, 2).eval(), nn.MultiheadAttention(8, 2, batch_first=True).eval()
    torchs.load_state_dict(ours.state_dict())
    hidden, source = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    cache = ours.cache(source)
    read, weights = torchs(hidden, source, source, average_attn_weights=False)
    torch.testing.assert_close(ours(hidden, cache), read, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.weights(hidden, cache), weights, atol=1e-6, rtol=0)
