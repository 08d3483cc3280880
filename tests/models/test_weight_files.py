"""Weights in files as others have written them."""

from typing import Any

import pytest
import timm
import torch
from idc_models.encoders.timm import TimmEncoder
from idc_models.encoders.weight_files import read_weights, with_timm_names
from torch import nn

IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


class Blocks(nn.Module):
    """A network with three blocks in two stages, as timm arranges them."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleList([nn.Identity()]), nn.ModuleList([nn.Identity(), nn.Identity()])])


def test_published_names_of_efficientnets_become_those_of_timm():
    narrow = ("_depthwise_conv.weight", "_bn1.bias", "_project_conv.weight", "_bn2.bias")
    wide = ("_expand_conv.weight", "_bn0.bias", *narrow, "_se_reduce.bias")
    theirs = ["_conv_stem.weight", "_bn0.weight", "_conv_head.weight", "_bn1.weight", "_fc.bias"]
    theirs += [f"_blocks.0.{name}" for name in narrow] + [f"_blocks.2.{name}" for name in wide]
    given = {name: torch.full((1,), float(number)) for number, name in enumerate(theirs)}
    ours = with_timm_names(Blocks(), given)
    assert list(ours) == [
        *("conv_stem.weight", "bn1.weight", "conv_head.weight", "bn2.weight", "classifier.bias"),
        *("blocks.0.0.conv_dw.weight", "blocks.0.0.bn1.bias", "blocks.0.0.conv_pw.weight", "blocks.0.0.bn2.bias"),
        *("blocks.1.1.conv_pw.weight", "blocks.1.1.bn1.bias", "blocks.1.1.conv_dw.weight", "blocks.1.1.bn2.bias"),
        *("blocks.1.1.conv_pwl.weight", "blocks.1.1.bn3.bias", "blocks.1.1.se.conv_reduce.bias"),
    ]
    assert [value.item() for value in ours.values()] == list(range(len(theirs)))
    assert with_timm_names(Blocks(), {"bn1.weight": given["_fc.bias"]}).keys() == {"bn1.weight"}


@pytest.mark.parametrize("inside", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
def test_a_file_of_torch_is_read_with_its_classifier_left_out(tmp_path, inside):
    whole: Any = timm.create_model("test_efficientnet", num_classes=7).eval()
    state = {f"module.{name}": value for name, value in whole.state_dict().items()}
    torch.save(inside(state), tmp_path / "weights.pth")
    encoder = TimmEncoder(backbone="test_efficientnet", weights=str(tmp_path / "weights.pth")).eval()
    encoder.load_pretrained()
    expected = whole.forward_intermediates(encoder.scaled(IMAGES), indices=[-2], intermediates_only=True)[0]
    torch.testing.assert_close(encoder(IMAGES), expected.permute(0, 2, 3, 1))


def test_files_that_are_no_weights_are_one_line(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK")
    for name, told in (("none.pth", "hold no tensors"), ("cut.pth", "download complete"), ("a.txt", "expected a")):
        with pytest.raises(ValueError, match=told) as caught:
            read_weights(str(tmp_path / name))
        assert "\n" not in str(caught.value)
