import math
from dataclasses import replace

import torch
from idc_models import ModelSpec, build_captioner
from idc_models.contract import Widths
from idc_models.decoders.lean_transformer import LeanTransformerDecoder
from idc_models.decoding import generate
from idc_models.fusions.scorer import Scorer
from idc_models.objectives.cbr import Cbr
from idc_models.objectives.cross_view import CrossView
from idc_models.zoo import load_published, method_of, rename
from torch import nn

METHOD = "scorer"


def test_scorer_is_the_published_one(published, outputs, agree, agree_in_gradients):
    fixture = published(METHOD)
    fusion, decoder, objectives = load_published(METHOD, fixture.state)
    fused = fusion(fixture.grid("before"), fixture.grid("after"))
    for ours, theirs in (("before", "tokens1"), ("after", "tokens2")):
        agree(fused.extras[ours], fixture.outputs[theirs], theirs)
    agree(fused.memory, fixture.outputs["memory"], "memory")
    tokens, lengths = fixture.inputs["tokens"], fixture.inputs["mask"].sum(1).long()
    decoded = decoder(fused.memory, tokens)
    for ours, name in (
        (decoded.logits, "logits"),
        (decoded.states, "states"),
        (decoded.extras["attention_scores"], "attention_scores"),
    ):
        agree(ours, fixture.outputs[name], name)

    found = outputs(fused, decoder, tokens, lengths)
    losses = {name: objective(found) for name, objective in objectives.items()}
    for ours, theirs in (("caption", "caption"), ("cross-view", "match"), ("cbr", "cbr")):
        agree(losses[ours], fixture.outputs[f"loss/{theirs}"], theirs)
    weights = method_of(METHOD).objectives
    total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    agree(total, fixture.outputs["loss/total"], "total")
    total.backward()
    modules = {
        "fusion": fusion,
        "decoder": decoder,
        **{f"objectives/{name}": each for name, each in objectives.items()},
    }
    ours = {f"{part}/{name}": each.grad for part, module in modules.items() for name, each in module.named_parameters()}
    agree_in_gradients(ours, rename(METHOD, fixture.grads))

    written = generate(decoder, fused.memory.detach(), max_length=tokens.shape[1] - 1).tokens
    for row, expected in zip(written.tolist(), fixture.outputs["greedy"][:, 1:].tolist(), strict=True):
        said = row[: row.index(3)] if 3 in row else row
        assert said + [0] * (len(expected) - len(said)) == expected


WORDS, LENGTHS = [[1, 4, 5, 6, 2], [1, 6, 2, 0, 0]], [5, 3]


def norm(layer, value):
    centred = value - value.mean()
    return centred / ((centred**2).mean() + 1e-6).sqrt() * layer.weight + layer.bias


def linear(layer, value):
    return layer.weight.flatten(1) @ value + layer.bias


def plain_attention(queries, keys, values, heads):
    """Attention of lists of vectors, one query and one head at a time."""
    read = []
    for query in queries:
        parts = []
        for head in range(heads):
            size = len(query) // heads
            part = slice(head * size, (head + 1) * size)
            shares = torch.stack([query[part] @ key[part] / size**0.5 for key in keys]).exp()
            parts.append(sum(share * value[part] for share, value in zip(shares / shares.sum(), values, strict=True)))
        read.append(torch.cat(parts))
    return read


def plain_scorer(fusion, before, after):
    """The fusion for one pair: tokens of both sides, the last queries and keys, the memory."""

    def cells(grid):
        height, width = grid.shape[:2]
        found = []
        for i in range(height):
            for j in range(width):
                seen = torch.cat([grid[i, j], grid.new_tensor([2 * j / width - 1, 2 * i / height - 1])])
                place = torch.cat([fusion.positions.columns.weight[j], fusion.positions.rows.weight[i]])
                found.append(linear(fusion.project, seen) + place)
        return found

    first = own, other = cells(before), cells(after)
    for layer in fusion.layers:
        sides = []
        asked, held = ([[linear(each, x) for x in side] for side in (own, other)] for each in (layer.query, layer.key))
        for side, theirs, queries, keys in ((own, other, asked[0], held[1]), (other, own, asked[1], held[0])):
            read = plain_attention(queries, keys, [linear(layer.value, x) for x in theirs], layer.heads)
            sides.append([norm(layer.layer_norm, x + r) for x, r in zip(side, read, strict=True)])
        own, other = sides
    memory = [linear(fusion.output, torch.cat(each)).clamp(min=0) for each in zip(own, other, strict=True)]
    return first, asked, held, memory


def plain_speaker(decoder, memory, caption):
    """States of each place of a caption, from the words up to it; padding comes last and matters to no word."""
    width = decoder.embedding.weight.shape[1]
    hidden = []
    for place, word in enumerate(caption):
        angles = [place / 10_000 ** (2 * (k // 2) / width) for k in range(width)]
        codes = [math.cos(angle) if k % 2 else math.sin(angle) for k, angle in enumerate(angles)]
        embedded = decoder.embedding.weight[word] + decoder.embedding.weight.new_tensor(codes)
        hidden.append(norm(decoder.norm, linear(decoder.project, embedded)))
    for layer in decoder.layers:
        attention, cross = layer.self_attention, layer.cross_attention
        renewed = []
        for place, x in enumerate(hidden):
            past = hidden[: place + 1]
            keys, values = ([linear(each, y) for y in past] for each in (attention.key, attention.value))
            x = norm(layer.norm1, x + plain_attention([linear(attention.query, x)], keys, values, attention.heads)[0])
            keys, values = ([linear(each, y) for y in memory] for each in (cross.key, cross.value))
            x = norm(layer.norm2, x + plain_attention([linear(cross.query, x)], keys, values, cross.heads)[0])
            inner = linear(layer.linear1, x)
            inner = inner * (1 + (inner / 2**0.5).erf()) / 2
            renewed.append(norm(layer.norm3, linear(layer.linear2, inner) + inner))
        hidden = renewed
    return hidden


def plain_contrast(ours, theirs, scale):
    """The mean over rows of -log softmax of the own column; and the same for the columns."""
    scores = [[0.0] * len(theirs) for _ in ours]
    for i, mine in enumerate(ours):
        for j, yours in enumerate(theirs):
            products = torch.stack([torch.stack([x @ y for y in yours]) for x in mine])
            scores[i][j] = (products.max(1).values.mean() + products.max(0).values.mean()) / 2 * scale.exp()
    table = torch.stack([torch.stack(row) for row in scores])
    rows, columns = (-(each.diagonal() - each.exp().sum(1).log()).mean() for each in (table, table.T))
    return rows, columns


def test_scorer_is_what_its_equations_say(vocab, outputs, agree, agree_in_gradients):
    fusion = Scorer(3, dim=8, heads=2, grid_side=4, coordinates=True)
    decoder = LeanTransformerDecoder(8, vocab, word_dim=6, heads=2)
    widths = Widths(3, 8, 8)
    match, cbr = CrossView(widths, vocab), Cbr(widths, vocab, heads=2)
    parts = nn.ModuleList([fusion, decoder, match, cbr]).double().eval()
    for parameter in parts.parameters():
        nn.init.normal_(parameter, std=0.4)
    before, after = torch.randn(2, 2, 2, 3, 3, dtype=torch.float64)
    found = outputs(fusion(before, after), decoder, torch.tensor(WORDS), torch.tensor(LENGTHS))
    ours = [match(found), cbr(found), found.decoded.logits[0].logsumexp(1).sum()]

    tokens, asked, held, said, imagined = [], [], [], [], []
    for index, (caption, length) in enumerate(zip(WORDS, LENGTHS, strict=True)):
        first, queries, keys, memory = plain_scorer(fusion, before[index], after[index])
        agree(found.fused.memory[index], torch.stack(memory), "memory")
        states = plain_speaker(decoder, memory, caption[: length - 1])
        agree(found.decoded.states[index, : length - 1], torch.stack(states), "states")
        mean = sum(states) / len(states)
        mixed = [linear(cbr.mix, torch.cat([x, mean])) for x in first[0]]
        parts_of = [[weight @ x for x in mixed] for weight in cbr.attend.in_proj_weight.chunk(3)]
        read = [cbr.attend.out_proj.weight @ x for x in plain_attention(*parts_of, cbr.heads)]
        imagined.append([linear(cbr.query, linear(cbr.output, x)) for x in read])
        tokens.append([linear(cbr.key, x) for x in first[1]])
        asked.append(queries)
        held.append(keys)
        said.append(states)
    one = plain_contrast([a[0] for a in asked], [h[1] for h in held], match.scale.logit_scale)[0]
    two = plain_contrast([a[1] for a in asked], [h[0] for h in held], match.scale.logit_scale)[0]
    three = sum(plain_contrast(imagined, tokens, cbr.scale.logit_scale)) / 2
    words = sum(linear(decoder.output, state).exp().sum().log() for state in said[0])
    theirs = [(one + two) / 2, three, words]
    for mine, yours in zip(ours, theirs, strict=True):
        agree(mine.double(), yours)
    # Adding to all keys changes no softmax: those gradients are zero but for rounding.
    shifts = ("layers.0.key.bias", "attention.key.bias")
    parameters = {name: each for name, each in parts.named_parameters() if not name.endswith(shifts)}
    given, expected = (torch.autograd.grad(sum(each), [*parameters.values()]) for each in (ours, theirs))
    agree_in_gradients(dict(zip(parameters, given, strict=True)), dict(zip(parameters, expected, strict=True)))


def test_pairs_of_one_scene_are_no_counter_examples(vocab, outputs):
    fusion, decoder = Scorer(3, dim=8, grid_side=4).eval(), LeanTransformerDecoder(8, vocab).eval()
    grids = torch.randn(2, 1, 2, 3, 3).expand(-1, 2, -1, -1, -1)
    found = outputs(fusion(*grids), decoder, torch.tensor(WORDS), torch.tensor(LENGTHS))
    for objective in (CrossView(Widths(3, 8, 8), vocab), Cbr(Widths(3, 8, 8), vocab)):
        assert objective(found) > 0.1
        assert objective(replace(found, scene=torch.ones(2, 2, dtype=torch.bool))).item() == 0


def test_every_parameter_of_scorer_and_cbr_is_trained(vocab, batch):
    spec = ModelSpec.model_validate(
        {
            "encoder": {"name": "cnn", "widths": [8, 16]},
            "fusion": {"name": "scorer", "dim": 16},
            "decoder": {"name": "lean-transformer", "word_dim": 8},
        }
    )
    captioner = build_captioner(spec, vocab, {"caption": 1.0, "cross-view": 0.1, "cbr": 0.001})
    captioner(batch)["loss"].backward()
    assert [name for name, each in captioner.named_parameters() if each.grad is None] == []


def test_an_unspoken_token_is_not_written(vocab):
    decoder = LeanTransformerDecoder(8, vocab, unspoken=[3]).eval()
    decoder.output.bias.data[3] = 50.0
    assert 3 not in generate(decoder, torch.randn(2, 3, 8)).tokens
