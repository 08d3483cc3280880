from typing import Any

import numpy as np
import pytest
import timm
import torch
from idc_models.encoders.cnn import CnnEncoder
from idc_models.encoders.timm import TimmEncoder
from idc_models.encoders.torchvision import TorchvisionEncoder
from safetensors.torch import save_file

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("settings", "grid"),
    [
        ({"backbone": "test_resnet"}, 4),
        ({"backbone": "test_resnet", "level": 2}, 8),
        ({"backbone": "test_vit", "img_size": 64}, 4),
        ({"backbone": "test_efficientnet", "level": -1}, 2),
    ],
)
def test_any_timm_backbone(settings, grid):
    encoder = TimmEncoder(**settings)
    assert encoder(IMAGES).shape == (2, grid, grid, encoder.dim)
    encoder(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("backbone", "level", "grid"),
    [("resnet18", -2, 4), ("resnet18", 1, 16), ("efficientnet_b0", -2, 4), ("efficientnet_v2_s", 2, 8)],
)
def test_torchvision_levels(backbone, level, grid):
    encoder = TorchvisionEncoder(backbone=backbone, level=level).eval()
    assert encoder(IMAGES).shape == (2, grid, grid, encoder.dim)


@pytest.mark.parametrize(("plugin", "backbone"), [(TimmEncoder, "test_resnet"), (TorchvisionEncoder, "resnet18")])
def test_a_frozen_encoder_stays_as_it_is(plugin, backbone):
    encoder = plugin(backbone=backbone, frozen=True)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    grid = encoder.train()(IMAGES)
    assert not grid.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert all(value.equal(before[name]) for name, value in encoder.state_dict().items())
    moving = plugin(backbone=backbone).train()
    statistics = {name: value.clone() for name, value in moving.named_buffers() if "running" in name}
    moving(IMAGES)
    assert any(not value.equal(statistics[name]) for name, value in moving.named_buffers() if name in statistics)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("classes", [7, 1000])
def test_local_weights(tmp_path, suffix, classes):
    whole: Any = timm.create_model("test_resnet", num_classes=classes).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in whole.state_dict().items()})
    else:
        save_file(whole.state_dict(), path)
    encoder = TimmEncoder(backbone="test_resnet", weights=str(path), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).eval()
    expected = whole.forward_intermediates(IMAGES * 2 - 1, indices=[-2], intermediates_only=True)[0].permute(0, 2, 3, 1)
    assert not torch.allclose(encoder(IMAGES), expected)  # constructing reads no file
    encoder.load_pretrained()
    torch.testing.assert_close(encoder(IMAGES), expected)


def test_the_small_network_goes_on_from_a_checkpoint(tmp_path):
    trained, path = CnnEncoder(widths=(8, 8)).eval(), tmp_path / "best.safetensors"
    state = {f"model/encoder.{name}": value for name, value in trained.state_dict().items()}
    save_file(state | {"model/decoder.weight": torch.zeros(1)}, path)
    encoder = CnnEncoder(widths=(8, 8), weights=str(path)).eval()
    assert not torch.allclose(encoder(IMAGES), trained(IMAGES))
    encoder.load_pretrained()
    torch.testing.assert_close(encoder(IMAGES), trained(IMAGES))
    with pytest.raises(ValueError, match="of another shape"):
        CnnEncoder(widths=(16, 8), weights=str(path)).load_pretrained()


def test_weights_that_do_not_fit(tmp_path):
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    name, value = next(iter(state.items()))
    other = {name: value[:1].clone(), "surplus.weight": value} | {key: state[key] for key in list(state)[2:]}
    save_file(other, tmp_path / "w.safetensors")
    with pytest.raises(ValueError) as caught:
        TimmEncoder(backbone="test_resnet", weights=str(tmp_path / "w.safetensors")).load_pretrained()
    message = str(caught.value)
    assert f"{list(state)[1]} missing" in message
    assert "surplus.weight not in the model" in message
    assert f"{name} of another shape" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing.npz", FileNotFoundError, "missing.npz"),
        ("model.onnx", ValueError, "expected a .safetensors, an .npz or a .pth file"),
        ("text.npz", ValueError, "are not a .npz file, or it is truncated"),
        ("text.safetensors", ValueError, "are not a .safetensors file, or it is truncated"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, error, message):
    for text in ("text.npz", "text.safetensors"):
        (tmp_path / text).write_text("these are no weights")
    with pytest.raises(error, match=message):
        TimmEncoder(backbone="test_resnet", weights=str(tmp_path / name)).load_pretrained()


@pytest.mark.parametrize(
    ("plugin", "settings", "message"),
    [
        (TimmEncoder, {"backbone": "resnet81"}, "unknown timm backbone 'resnet81'; did you mean 'resnet18'"),
        (TimmEncoder, {"img_size": 64}, "'resnet18' does not take img_size"),
        (TimmEncoder, {"level": 5}, "level is 5, but 'resnet18' has 5: -5 to 4"),
        (TimmEncoder, {"pretrained": True, "weights": "x.npz"}, "give one of the two"),
        (TorchvisionEncoder, {"backbone": "resnet"}, "unknown torchvision backbone 'resnet'; did you mean"),
        (TorchvisionEncoder, {"level": -6}, "level is -6"),
        (
            TorchvisionEncoder,
            {"weights": "IMAGENET"},
            "'resnet18' has no weights 'IMAGENET'; did you mean 'IMAGENET1K_V1'",
        ),
    ],
)
def test_settings_without_meaning(plugin, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        plugin(**settings)
    assert "\n" not in str(caught.value)


def test_pretrained_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = TimmEncoder(backbone="resnet18", pretrained=True)
    with pytest.raises(ValueError, match="'resnet18'.*pretrained: false"):
        encoder.load_pretrained()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="ResNet18_Weights.IMAGENET1K_V1 cannot be loaded"):
        TorchvisionEncoder(pretrained=True).load_pretrained()
