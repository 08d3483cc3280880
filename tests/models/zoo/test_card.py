"""CARD against its equations, written without batches: one pair, one cell, one vector at a time."""

import math
from dataclasses import replace

import pytest
import torch
from idc_models import ModelSpec, build_captioner
from idc_models.contract import Widths
from idc_models.decoders.lean_transformer import LeanTransformerDecoder
from idc_models.fusions.card import Card
from idc_models.objectives.consistency import Consistency
from idc_models.objectives.independence import Independence
from torch import nn

WIDTHS = Widths(3, 8, 8)
TOKENS, LENGTHS = torch.tensor([[1, 4, 2], [1, 5, 2], [1, 6, 2]]), torch.tensor([3, 3, 3])


@pytest.fixture
def found(vocab, outputs):
    fusion = Card(3, dim=8, heads=2, grid_side=4, coordinates=True).double().eval()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.4)
    grids = torch.randn(2, 3, 1, 3, 3, dtype=torch.float64)
    return fusion, grids, outputs(fusion(*grids), LeanTransformerDecoder(8, vocab), TOKENS, LENGTHS)


def linear(layer, x):
    return layer.weight.flatten(1) @ x + layer.bias


def attend(layer, tokens, others):
    """Attention head by head, the residual and the norm."""
    dim, heads, parts = 8, 2, layer.attention
    weights, biases = parts.in_proj_weight.chunk(3), parts.in_proj_bias.chunk(3)
    renewed = []
    for x in tokens:
        read = []
        for head in range(heads):
            rows = slice(head * dim // heads, (head + 1) * dim // heads)
            query = weights[0][rows] @ x + biases[0][rows]
            keys, values = (
                [w[rows] @ y + b[rows] for y in others] for w, b in zip(weights[1:], biases[1:], strict=True)
            )
            scores = torch.stack([query @ key / math.sqrt(dim // heads) for key in keys]).exp()
            read.append(sum(s * v for s, v in zip(scores, values, strict=True)) / scores.sum())
        x = x + linear(parts.out_proj, torch.cat(read))
        centred = x - x.mean()
        renewed.append(centred / (centred.square().mean() + 1e-5).sqrt() * layer.norm.weight + layer.norm.bias)
    return renewed


def plain_card(fusion, grids):
    """The memory of one pair, and what the sides have in common and for themselves."""
    sides = []
    for grid in grids:
        tokens = [fusion.context.weight[0]]
        for i in range(grid.shape[0]):
            for j in range(grid.shape[1]):
                seen = torch.cat([grid[i, j], grid.new_tensor([2 * j / grid.shape[1] - 1, 2 * i / grid.shape[0] - 1])])
                place = torch.cat([fusion.positions.columns.weight[j], fusion.positions.rows.weight[i]])
                tokens.append(linear(fusion.project, seen) + place)
        sides.append(attend(fusion.relate, tokens, tokens))
    common = [linear(fusion.common, side[0]) for side in sides]
    own = [linear(layer, side[0]) for layer, side in zip((fusion.before_own, fusion.after_own), sides, strict=True)]
    before, after = (
        [linear(fusion.guide, torch.cat([x, c])).clamp(min=0) for x in side[1:]]
        for side, c in zip(sides, common, strict=True)
    )
    before = attend(fusion.share, before, after)
    after = attend(fusion.share, after, before)
    left = [
        [linear(fusion.augment, torch.cat([x - y, o])) for x, y in zip(side[1:], shared, strict=True)]
        for side, shared, o in zip(sides, (before, after), own, strict=True)
    ]
    return [linear(fusion.output, torch.cat(both)) for both in zip(*left, strict=True)], common, own


def test_card_is_what_its_equations_say(found, agree, agree_in_gradients):
    fusion, grids, outputs = found
    memory = outputs.fused.memory
    pairs = [plain_card(fusion, grids[:, index]) for index in range(3)]
    expected = torch.stack([torch.stack(cells) for cells, _, _ in pairs])
    agree(memory, expected, "memory")
    for place, name in ((1, "common"), (2, "own")):
        for side, index in (("before", 0), ("after", 1)):
            agree(outputs.extra(f"{side}_{name}"), torch.stack([pair[place][index] for pair in pairs]), name)
    # Adding to all keys changes no softmax, so the middle third of those biases has no gradient but for rounding.
    parameters = {name: each for name, each in fusion.named_parameters() if not name.endswith("in_proj_bias")}
    ours, theirs = (torch.autograd.grad(each.square().sum(), [*parameters.values()]) for each in (memory, expected))
    agree_in_gradients(dict(zip(parameters, ours, strict=True)), dict(zip(parameters, theirs, strict=True)))


def unit(vector):
    return [x / math.sqrt(sum(y * y for y in vector)) for x in vector]


def test_consistency_finds_the_other_side_among_all_pairs(vocab, found):
    outputs = found[2]
    before, after = ([unit(x) for x in outputs.extra(f"{side}_common").tolist()] for side in ("before", "after"))
    scores = [[sum(x * y for x, y in zip(a, b, strict=True)) / 0.07 for b in after] for a in before]
    expected = 0.0
    for table in (scores, list(zip(*scores, strict=True))):
        expected += sum(math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(table)) / 6
    objective = Consistency(WIDTHS, vocab)
    assert objective(outputs).item() == pytest.approx(expected, rel=1e-5)
    assert objective(replace(outputs, scene=torch.ones(3, 3, dtype=torch.bool))).item() == 0


def test_independence_is_the_hilbert_schmidt_criterion(vocab, found, outputs):
    sides = [[unit(x) for x in found[2].extra(f"{side}_own").tolist()] for side in ("before", "after")]
    ours, theirs = ([[math.exp(-(math.dist(x, y) ** 2) / 2) for y in side] for x in side] for side in sides)
    h = [[(i == j) - 1 / 3 for j in range(3)] for i in range(3)]
    three = range(3)
    expected = (
        sum(ours[a][b] * h[b][c] * theirs[c][d] * h[d][a] for a in three for b in three for c in three for d in three)
        / 4
    )
    objective = Independence(WIDTHS, vocab)
    assert objective(found[2]).item() == pytest.approx(expected, rel=1e-4)
    fusion, grids, _ = found
    alone = outputs(fusion(*grids[:, :1]), found[2].decoder, TOKENS[:1], LENGTHS[:1])
    assert objective(alone).item() == 0


def test_the_temperature_stays_between_its_bounds(vocab, found):
    objective = Consistency(WIDTHS, vocab).train()
    for given, kept in ((-1.0, 0.001), (2.0, 0.5)):
        objective.temperature.data.fill_(given)
        objective(found[2])
        assert objective.temperature.item() == pytest.approx(kept)


def test_every_parameter_of_card_is_trained(vocab, batch):
    spec = ModelSpec.model_validate(
        {
            "encoder": {"name": "cnn", "widths": [8, 16]},
            "fusion": {"name": "card", "dim": 16},
            "decoder": {"name": "lean-transformer", "word_dim": 8},
        }
    )
    captioner = build_captioner(spec, vocab, {"caption": 1.0, "consistency": 0.001, "independence": 0.001})
    captioner(batch)["loss"].backward()
    assert [name for name, each in captioner.named_parameters() if each.grad is None] == []
