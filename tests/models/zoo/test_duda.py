import math

import pytest
import torch
from idc_models.contract import Fused, Widths
from idc_models.decoders.dynamic_speaker import DynamicSpeaker
from idc_models.decoding import generate
from idc_models.fusions.duda import Duda
from idc_models.objectives.attention_entropy import AttentionEntropy
from idc_models.objectives.map_sum import MapSum
from idc_models.zoo import load_published, method_of, rename
from torch import nn

WORDS, LENGTHS = [[1, 4, 5, 2], [1, 6, 2, 0]], [4, 3]


def squash(value):
    return 1 / (1 + (-value).exp())


def plain_duda(fusion, before, after):
    """DUDA's detector cell by cell: two maps, three vectors; `before` and `after` are lists of lists of vectors."""
    first, norm, last = fusion.embed[0], fusion.embed[1], fusion.attend
    height, width = before.shape[:2]

    def located(grid, i, j):
        place = grid.new_tensor([2 * j / width - 1, 2 * i / height - 1])
        return torch.cat([grid[i, j], place])

    def look(grid):
        cells = {}
        for i in range(height):
            for j in range(width):
                difference = located(after, i, j) - located(before, i, j)
                seen = torch.cat([located(grid, i, j), difference])
                cells[i, j] = first.weight.flatten(1) @ seen + first.bias
        size = len(first.bias) // norm.num_groups
        total, change_map = 0, {}
        stacked = torch.stack([*cells.values()])
        for place, hidden in cells.items():
            normed = []
            for group in range(norm.num_groups):
                part = stacked[:, group * size : (group + 1) * size]
                spread = ((part - part.mean()) ** 2).mean()
                normed.append((hidden[group * size : (group + 1) * size] - part.mean()) / (spread + norm.eps).sqrt())
            loud = (torch.cat(normed) * norm.weight + norm.bias).clamp(min=0)
            change_map[place] = squash(last.weight.flatten() @ loud + last.bias[0])
            total = total + change_map[place] * located(grid, *place)
        return torch.stack([*change_map.values()]).view(height, width), total

    (map_before, seen_before), (map_after, seen_after) = look(before), look(after)
    return torch.stack([seen_before, seen_after - seen_before, seen_after]), map_before, map_after


def plain_cell(cell, given, hidden, memory):
    """One LSTM step, gate by gate."""
    parts = cell.weight_ih @ given + cell.bias_ih + cell.weight_hh @ hidden + cell.bias_hh
    enter, forget, fresh, leave = parts.view(4, -1)
    memory = squash(forget) * memory + squash(enter) * fresh.tanh()
    return squash(leave) * memory.tanh(), memory


def plain_speaker(decoder, slots, caption):
    """The dynamic speaker word by word: log-probabilities of each next word, and the weights of the slots."""
    zeros = slots.new_zeros(decoder.state_dim)
    attending, attending_cell, speaking, speaking_cell = zeros, zeros, zeros, zeros
    fixed = (decoder.embed.weight @ torch.cat([*slots]) + decoder.embed.bias).clamp(min=0)
    said, weighed = [], []
    for word in caption:
        attending, attending_cell = plain_cell(
            decoder.attending, torch.cat([fixed, speaking]), attending, attending_cell
        )
        shares = (decoder.weigh.weight @ attending + decoder.weigh.bias).exp()
        shares = shares / shares.sum()
        context = shares[0] * slots[0] + shares[1] * slots[1] + shares[2] * slots[2]
        embedded = decoder.embedding.weight[word].clamp(min=0)
        speaking, speaking_cell = plain_cell(decoder.speaking, torch.cat([embedded, context]), speaking, speaking_cell)
        logits = decoder.output.weight @ speaking + decoder.output.bias
        said.append(logits - logits.exp().sum().log())
        weighed.append(shares)
    return torch.stack(said), torch.stack(weighed)


@pytest.fixture
def parts(vocab):
    fusion = Duda(3, dim=8, groups=4, coordinates=True).double().eval()
    decoder = DynamicSpeaker(fusion.memory_dim, vocab, dim=6, embed_dim=7, word_dim=4).double().eval()
    for parameter in fusion.parameters():  # norms away from 1 and 0
        nn.init.normal_(parameter, std=0.5)
    return fusion, decoder


def test_duda_is_what_its_equations_say(parts, outputs, agree, agree_in_gradients):
    fusion, decoder = parts
    before, after = torch.randn(2, 2, 2, 3, 3, dtype=torch.float64)
    tokens = torch.tensor(WORDS)
    found = outputs(fusion(before, after), decoder, tokens, torch.tensor(LENGTHS))
    widths = Widths(3, fusion.memory_dim, decoder.state_dim)
    negative, total = AttentionEntropy(widths, decoder.vocab)(found), MapSum(widths, decoder.vocab)(found)

    loss = entropy = sums = caption = 0.0
    for index, (row, length) in enumerate(zip(WORDS, LENGTHS, strict=True)):
        slots, map_before, map_after = plain_duda(fusion, before[index], after[index])
        log_probs, weights = plain_speaker(decoder, slots, row[:-1])
        agree(found.fused.memory[index], slots, "memory")
        agree(found.fused.extras["map_before"][index], map_before, "map of before")
        agree(found.fused.extras["map_after"][index], map_after, "map of after")
        agree(found.decoded.logits[index].log_softmax(1), log_probs, "log-probabilities")
        agree(found.decoded.attention[index], weights, "weights")
        for place in range(length - 1):
            caption = caption - log_probs[place, row[place + 1]] / (sum(LENGTHS) - len(LENGTHS))
            entropy = entropy - (weights[place] * weights[place].log()).sum() / len(WORDS)
        sums = sums + (map_before.sum() + map_after.sum()) / (2 * len(WORDS))
    agree(-negative.double(), entropy, "entropy")
    agree(total.double(), sums, "sum of the maps")

    parameters = {**dict(fusion.named_parameters(prefix="fusion")), **dict(decoder.named_parameters(prefix="decoder"))}
    ours = nn.functional.nll_loss(
        found.decoded.logits.log_softmax(2).flatten(0, 1), found.targets.masked_fill(~found.mask, -100).flatten()
    )
    agree(ours, caption, "caption")
    loss = caption + 0.3 * sums - 0.2 * entropy
    theirs = torch.autograd.grad(loss, [*parameters.values()])
    given = torch.autograd.grad(ours + 0.3 * total + 0.2 * negative, [*parameters.values()])
    agree_in_gradients(dict(zip(parameters, given, strict=True)), dict(zip(parameters, theirs, strict=True)))


def test_the_change_map_is_the_mean_of_both_maps(parts):
    fusion, _ = parts
    fused = fusion(*torch.randn(2, 1, 2, 5, 3, dtype=torch.float64))
    assert fused.change_map is not None and fused.change_map.shape == (1, 2, 5)
    assert fused.change_map.equal((fused.extras["map_before"] + fused.extras["map_after"]) / 2)


def test_the_dynamic_speaker_says_which_memory_it_reads(vocab):
    with pytest.raises(ValueError, match=r"3 memory slots .*has 6; set fusion: duda"):
        DynamicSpeaker(4, vocab)(torch.zeros(1, 6, 4), torch.ones(1, 2, dtype=torch.long))


def test_objectives_say_what_they_miss(vocab, outputs):
    decoder = DynamicSpeaker(4, vocab, dim=4).eval()
    seen = outputs(Fused(torch.zeros(1, 3, 4)), decoder, torch.tensor([[1, 4, 2]]), torch.tensor([3]))
    with pytest.raises(ValueError, match="'map-sum' needs a change map"):
        MapSum(Widths(4, 4, 4), vocab)(seen)
    assert -AttentionEntropy(Widths(4, 4, 4), vocab)(seen).item() <= 2 * math.log(3) + 1e-6


def test_a_weight_that_vanished_has_no_entropy(vocab, outputs):
    decoder = DynamicSpeaker(4, vocab, dim=4).eval()
    with torch.no_grad():
        decoder.weigh.bias.copy_(torch.tensor([1000.0, 0.0, 0.0]))
    seen = outputs(Fused(torch.zeros(1, 3, 4)), decoder, torch.tensor([[1, 4, 2]]), torch.tensor([3]))
    loss = AttentionEntropy(Widths(4, 4, 4), vocab)(seen)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert decoder.weigh.weight.grad is not None and decoder.weigh.weight.grad.isfinite().all()


def test_duda_is_the_published_one(published, outputs, agree, agree_in_gradients):
    fixture = published("duda")
    fusion, decoder, objectives = load_published("duda", fixture.state)
    fused = fusion(fixture.grid("before"), fixture.grid("after"))
    for slot, name in enumerate(("one", "diff", "two")):
        agree(fused.memory[:, slot], fixture.outputs[name], name)
    agree(fused.extras["map_before"], fixture.outputs["map1"][:, 0], "map1")
    agree(fused.extras["map_after"], fixture.outputs["map2"][:, 0], "map2")

    seen = outputs(fused, decoder, fixture.inputs["tokens"], fixture.inputs["mask"].sum(1).long())
    steps = fixture.outputs["module_weights"].shape[1]  # the published module stops there
    agree(seen.decoded.attention[:, :steps], fixture.outputs["module_weights"], "module weights")
    agree(seen.decoded.logits.log_softmax(2)[:, :steps], fixture.outputs["log_probs"][:, :steps], "log-probabilities")

    losses = {name: objective(seen) for name, objective in objectives.items()}
    agree(losses["caption"], fixture.outputs["loss/caption"], "caption")
    agree(losses["map-sum"], fixture.outputs["loss/maps"], "maps")
    agree(-losses["attention-entropy"], fixture.outputs["loss/entropy"], "entropy")
    total = sum(weight * losses[name] for name, weight in method_of("duda").objectives.items())
    agree(total, fixture.outputs["loss/total"], "total")
    total.backward()
    ours = {f"fusion/{name}": parameter.grad for name, parameter in fusion.named_parameters()}
    ours |= {f"decoder/{name}": parameter.grad for name, parameter in decoder.named_parameters()}
    agree_in_gradients(ours, rename("duda", fixture.grads))

    greedy = fixture.outputs["greedy"]
    written = generate(decoder, fused.memory.detach(), max_length=greedy.shape[1], forbidden=[[0]])
    assert written.tokens.equal(greedy)
