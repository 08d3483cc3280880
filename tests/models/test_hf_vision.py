"""Vision towers of transformers as encoders: tiny ones with random weights, made on disk."""

import json

import pytest
import torch
from idc_models import ModelSpec, build_captioner
from idc_models.encoders.hf_vision import HfVisionEncoder
from idc_models.fitting import build_trained
from idc_models.frozen import without_frozen
from idc_models.testing import check_encoder

pytestmark = pytest.mark.slow
transformers = pytest.importorskip("transformers")

PLAIN = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32,
         "patch_size": 16}  # fmt: skip
KINDS = {"clip": 1, "siglip": 0, "dinov2": 1, "dinov2_with_registers": 5, "dinov3_vit": 1, "vit": 1}
"""How many tokens stand before those of the patches."""
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Make the folder of a model of some architecture."""
    root = tmp_path_factory.mktemp("towers")

    def folder(kind):
        if not (root / kind).exists():
            torch.manual_seed(0)
            text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
            sizes = {"vision_config": PLAIN, "text_config": text} if kind in ("clip", "siglip") else PLAIN
            made = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes))
            for parameter in made.parameters():
                parameter.data += torch.randn_like(parameter) * 0.05  # norms are not all ones, positions not all zeros
            made.save_pretrained(root / kind)
            scale = {"image_mean": MEAN, "image_std": STD}
            (root / kind / "preprocessor_config.json").write_text(json.dumps(scale))
        return str(root / kind)

    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"frozen": False}, {"frozen": False, "layers": 2, "coordinates": True}])
def test_the_contract_is_kept(kind, settings, folder):
    check_encoder(HfVisionEncoder, model=folder(kind), **settings)


@pytest.mark.parametrize(("kind", "before"), KINDS.items())
@pytest.mark.parametrize("side", [32, 48])
def test_the_grid_is_the_patches_of_the_published_model(kind, before, side, folder):
    encoder = HfVisionEncoder(model=folder(kind)).eval()
    encoder.load_pretrained()
    whole = transformers.AutoModel.from_pretrained(folder(kind)).eval()
    tower = getattr(whole, "vision_model", whole)
    images = torch.rand(2, 3, side, side)
    scaled = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    more = {"interpolate_pos_encoding": True} if encoder.interpolates else {}
    tokens = tower(pixel_values=scaled, **more).last_hidden_state
    cells = side // 16
    assert tokens.shape[1] == before + cells**2
    torch.testing.assert_close(encoder(images), tokens[:, before:].unflatten(1, (cells, cells)))


def test_fewer_layers_are_those_of_the_front(folder):
    encoder = HfVisionEncoder(model=folder("clip"), layers=2).eval()
    encoder.load_pretrained()
    whole = transformers.CLIPVisionModel.from_pretrained(folder("clip")).eval()
    images = torch.rand(2, 3, 32, 32)
    states = whole(pixel_values=encoder.scaled(images), output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder(images), states[2][:, 1:].unflatten(1, (2, 2)))


def test_a_checkpoint_names_the_tower_and_its_spec_says_how_images_are_scaled(folder, vocab, tmp_path):
    chosen = ModelSpec.model_validate(
        {
            "encoder": {"name": "hf-vision", "model": folder("siglip")},
            "fusion": {"name": "difference", "dim": 8},
            "decoder": "gru",
        }
    ).completed()
    assert tuple(chosen.encoder.settings["mean"]) == MEAN and tuple(chosen.encoder.settings["std"]) == STD
    model = build_captioner(chosen, vocab, None)
    weights, frozen = without_frozen(model.state_dict(), model.frozen)
    assert not any(name.startswith("encoder.backbone") for name in weights)
    again = build_trained(chosen, vocab, None, weights, frozen)
    assert all(value.equal(again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": "FOLDER", "layers": 9}, "layers is 9, but the model has 3"),
        ({"config": {"model_type": "llama"}}, "no vision transformer"),
        ({"model": "nowhere/at-all"}, "neither a folder with a config.json"),
    ],
)
def test_mistakes_are_one_line(settings, told, folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = {key: folder("dinov2") if value == "FOLDER" else value for key, value in settings.items()}
    with pytest.raises(ValueError, match=told) as caught:
        HfVisionEncoder(**settings)
    assert "\n" not in str(caught.value)


def test_images_that_are_no_whole_patches_are_an_error(folder):
    with pytest.raises(ValueError, match="multiple of 16"):
        HfVisionEncoder(model=folder("dinov2"))(torch.rand(1, 3, 40, 40))
