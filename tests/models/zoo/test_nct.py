"""NCT against its equations, written without batches: one pair, one cell, one vector at a time."""

import math

import pytest
import torch
from idc_models.fusions.nct import Nct
from torch import nn

DIM, HEADS, HIGH, WIDE = 8, 2, 2, 3
CELLS = [(i, j) for i in range(HIGH) for j in range(WIDE)]


def linear(layer, x):
    return layer.weight.flatten(1) @ x + layer.bias


def norm(layer, x):
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * layer.weight + layer.bias


def softmax(scores):
    exponents = [score.exp() for score in scores]
    return [each / sum(exponents) for each in exponents]


def neighbours(part, cells):
    """Each cell and what it reads of the nine around it; beyond the border the border goes on."""
    renewed = {}
    for i, j in CELLS:
        query = linear(part.query, cells[i, j])
        scores, values = [], []
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                near = cells[min(max(i + di, 0), HIGH - 1), min(max(j + dj, 0), WIDE - 1)]
                key = linear(part.key, near)
                scores.append(query @ key / (query.norm() * key.norm()))
                values.append(linear(part.value, near))
        read = sum(w * v for w, v in zip(softmax(scores), values, strict=True))
        renewed[i, j] = cells[i, j] + linear(part.output, read)
    return renewed


def depthwise(convolution, cells, i, j):
    total = convolution.bias
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            if (i + di, j + dj) in cells:
                total = total + convolution.weight[:, 0, di + 1, dj + 1] * cells[i + di, j + dj]
    return total


def common(part, own, other):
    keys, values = ({place: depthwise(each, other, *place) for place in CELLS} for each in (part.key, part.value))
    found = {}
    for place in CELLS:
        query, read = depthwise(part.query, own, *place), []
        for head in range(HEADS):
            width = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
            scores = [query[width] @ keys[each][width] / math.sqrt(DIM // HEADS) for each in CELLS]
            read.append(sum(w * values[each][width] for w, each in zip(softmax(scores), CELLS, strict=True)))
        found[place] = norm(part.norm, own[place] + torch.cat(read))
    return found


def look(part, cells, difference, groups):
    """A map by convolutions 1 x 1 with group normalisation over the whole grid, and the sum over it."""
    convolution, normalisation = part.embed[0], part.embed[1]
    inner = torch.stack([linear(convolution, torch.cat([cells[place], difference[place]])) for place in CELLS], 1)
    normed = []
    for group in inner.chunk(groups):
        centred = group - group.mean()
        normed.append(centred / (centred.square().mean() + 1e-5).sqrt())
    inner = (torch.cat(normed) * normalisation.weight[:, None] + normalisation.bias[:, None]).clamp(min=0)
    change_map = [linear(part.attend, inner[:, index]).sigmoid()[0] for index in range(len(CELLS))]
    return change_map, sum(weight * cells[place] for weight, place in zip(change_map, CELLS, strict=True))


def plain_nct(fusion, grids):
    sides = []
    for grid in grids:
        cells = {}
        for i, j in CELLS:
            seen = torch.cat([grid[i, j], grid.new_tensor([2 * j / WIDE - 1, 2 * i / HIGH - 1])])
            place = torch.cat([fusion.positions.columns.weight[j], fusion.positions.rows.weight[i]])
            cells[i, j] = norm(fusion.norm, linear(fusion.project, seen)) + place
        sides.append(neighbours(fusion.neighbours, cells))
    before, after = sides
    shared = [common(fusion.common, own, other) for own, other in ((before, after), (after, before))]
    difference = {}
    for place in CELLS:
        left = [side[place] - each[place] for side, each in zip(sides, shared, strict=True)]
        difference[place] = linear(fusion.difference, torch.cat(left))
    (map_before, seen_before), (map_after, seen_after) = (look(fusion.maps, side, difference, 2) for side in sides)
    contrast = linear(fusion.contrast, torch.cat([seen_after - seen_before, seen_before - seen_after]))
    memory = torch.stack([linear(fusion.output, x) for x in (seen_before, contrast, seen_after)])
    return memory, (torch.stack(map_before) + torch.stack(map_after)) / 2


def test_nct_is_what_its_equations_say(agree, agree_in_gradients):
    fusion = Nct(3, dim=DIM, heads=HEADS, neighbour_dim=4, map_dim=4, groups=2, grid_side=4, coordinates=True)
    fusion = fusion.double().eval()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.4)
    grids = torch.randn(2, 1, HIGH, WIDE, 3, dtype=torch.float64)
    fused = fusion(*grids)
    expected, change_map = plain_nct(fusion, grids[:, 0])
    agree(fused.memory[0], expected, "memory")
    agree(fused.change_map[0].flatten(), change_map, "change map")
    # Adding to all keys changes no softmax: that gradient is zero but for rounding.
    parameters = {name: each for name, each in fusion.named_parameters() if name != "common.key.bias"}
    ours, theirs = (
        torch.autograd.grad(each.square().sum(), [*parameters.values()]) for each in (fused.memory, expected)
    )
    agree_in_gradients(dict(zip(parameters, ours, strict=True)), dict(zip(parameters, theirs, strict=True)))


def test_groups_have_to_divide_the_channels_of_the_maps():
    with pytest.raises(ValueError, match="map_dim is 20 and groups is 32"):
        Nct(3, map_dim=20)
