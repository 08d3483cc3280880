"""CLIP4IDC: any vision transformer of timm, of which the last layers see both images; and pairs that find captions."""

import pytest
import timm
import torch
from idc_models.contract import Fused, Outputs, Widths
from idc_models.decoders.transformer import TransformerDecoder
from idc_models.encoders.timm import TimmEncoder
from idc_models.fusions.clip4idc import Clip4Idc
from idc_models.objectives.retrieval import Retrieval
from idc_models.testing import Vocabulary, check_fusion
from safetensors.torch import load_file, save_file

TINY = "test_vit"


def looked_at(memory, shared, pair=(0, 0, 1, 2)):
    tokens = torch.tensor([[1, 4, 5, 2], [1, 4, 2, 0], [1, 6, 7, 2], [1, 8, 2, 0]])
    pair, same = torch.tensor(pair), torch.eye(3, dtype=torch.bool)
    lengths = torch.tensor([4, 3, 4, 3])
    decoder = TransformerDecoder(5, Vocabulary(), dim=8, heads=2, layers=1)  # which has no part in it
    return Outputs(Fused(memory), decoder, tokens, lengths, pair, shared, [["a"]] * 3, same)


def test_a_vision_transformer_gives_the_grid_of_its_patches():
    encoder = TimmEncoder(backbone="vit_tiny_patch16_224", level=8, img_size=64).eval()
    grid = encoder(torch.rand(2, 3, 64, 64))
    assert grid.shape == (2, 4, 4, 192) and len(encoder.backbone.blocks) == 9  # the class token stays behind


@pytest.mark.slow
def test_the_joint_layers_keep_the_contract_with_a_backbone_and_without():
    check_fusion(Clip4Idc)
    check_fusion(Clip4Idc, backbone=TINY, layers=2, dim=16)


def test_the_last_layers_of_a_backbone_come_with_its_weights(tmp_path):
    model = timm.create_model(TINY, num_classes=0)
    save_file({name: torch.randn_like(value) for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    fusion = Clip4Idc(model.embed_dim, backbone=TINY, layers=2, dim=16, weights=str(tmp_path / "w.safetensors"))
    fusion.load_pretrained()
    model.load_state_dict(load_file(tmp_path / "w.safetensors"))
    for ours, theirs in zip(fusion.layers, model.blocks[-2:], strict=True):
        assert all(value.equal(theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert fusion.last_norm.weight.equal(model.norm.weight) and fusion.origin() == str(tmp_path / "w.safetensors")


def test_cells_of_one_side_attend_to_those_of_the_other():
    fusion = Clip4Idc(8, dim=16, layers=1).eval()
    before, after = torch.randn(2, 1, 2, 3, 8)
    memory = fusion(before, after).memory
    assert memory.shape == (1, 12, 16)
    other = fusion(before, torch.randn_like(after)).memory
    assert not memory[:, :6].allclose(other[:, :6])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet18"}, "'resnet18' does not end with 3 layers"),
        ({"backbone": TINY, "layers": 99}, "does not end with 99 layers"),
        ({"backbone": "test_vitt"}, "unknown timm backbone 'test_vitt'"),
        ({"pretrained": True}, "without a backbone; set backbone"),
        ({"heads": 5, "dim": 16}, "heads must divide dim"),
    ],
)
def test_what_is_no_vision_transformer_is_told(settings, message):
    with pytest.raises(ValueError, match=message):
        Clip4Idc(8, **settings)


def test_a_larger_grid_than_was_learned_is_told():
    with pytest.raises(ValueError, match="raise its grid_side"):
        Clip4Idc(8, dim=16, grid_side=2)(torch.zeros(1, 3, 2, 8), torch.zeros(1, 3, 2, 8))


def test_retrieval_is_infonce_in_both_directions():
    """Against one written out caption by caption."""
    objective = Retrieval(Widths(1, 5, 1), Vocabulary(), dim=8, layers=1, heads=2).eval()
    memory, shared = torch.randn(3, 4, 5), torch.eye(3, dtype=torch.bool)
    shared[1, 2] = shared[2, 1] = True  # these two share a reference
    outputs = looked_at(memory, shared)
    captions = objective.read(outputs.tokens, outputs.lengths)
    pairs = memory.mean(1) @ objective.project.weight.T
    total, pair = 0.0, outputs.pair.tolist()
    for i, own in enumerate(pair):
        scores = [(torch.cosine_similarity(captions[i], each, dim=0) / 0.07).exp() for each in pairs]
        rivals = [scores[j] for j in range(3) if j == own or not shared[own, j]]
        total = total - (scores[own] / sum(rivals)).log()
        scores = [(torch.cosine_similarity(each, pairs[own], dim=0) / 0.07).exp() for each in captions]
        rivals = [scores[k] for k in range(4) if k == i or not shared[own, pair[k]]]
        total = total - (scores[i] / sum(rivals)).log()
    torch.testing.assert_close(objective(outputs), total / 8)


def test_the_scale_is_learned_and_bounded():
    objective = Retrieval(Widths(1, 5, 1), Vocabulary(), dim=8, layers=1, heads=2)
    objective.logit_scale.data.fill_(50.0)
    objective(looked_at(torch.randn(3, 4, 5), torch.eye(3, dtype=torch.bool))).backward()
    assert objective.logit_scale.exp().item() == pytest.approx(100) and objective.logit_scale.grad is not None
