"""DIRL and CCR from a state of published names, against the modules that torch itself has, in both published forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from idc_models.contract import Widths
from idc_models.decoding import generate
from idc_models.fusions.dirl import Dirl
from idc_models.objectives.decorrelation import Decorrelation
from idc_models.zoo import PublishedTokens, load_published, method_of, rename
from torch import nn

DIM, WORD, VOCAB, SIDE, LONGEST, HEADS = 16, 6, 12, 5, 7, 8
TOKENS = torch.tensor([[2, 4, 5, 6, 3], [2, 6, 7, 3, 0], [2, 8, 3, 0, 0]])
LENGTHS = torch.tensor([5, 4, 3])


class Attend(nn.Module):
    """Self-attention and cross-attention of a decoder's layer, and what follows."""

    def __init__(self):
        super().__init__()
        self.self_att, self.cross_att = nn.MultiheadAttention(DIM, HEADS), nn.MultiheadAttention(DIM, HEADS)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(DIM), nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.linear1, self.linear2 = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)


class Cross(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.norm1 = nn.MultiheadAttention(DIM, HEADS), nn.LayerNorm(DIM)


def modules(norm):
    """The modules, under the names that their parameters have as published."""
    seen = 3 if norm else 5
    dirl = nn.ModuleDict(
        {
            "img": nn.Sequential(nn.Conv2d(seen, DIM, 1)),
            "w_embedding": nn.Embedding(SIDE, DIM // 2),
            "h_embedding": nn.Embedding(SIDE, DIM // 2),
            "mlp": nn.Sequential(nn.Linear(DIM, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, DIM)),
            "transformer": nn.ModuleList(Cross() for _ in range(2)),
        }
    )
    core = nn.ModuleDict(
        {
            "embed": nn.Embedding(VOCAB, WORD, padding_idx=0),
            "fc": nn.Sequential(nn.Linear(WORD, DIM), *([nn.LayerNorm(DIM)] if norm else [])),
            "embed_fc": nn.Sequential(nn.Linear(2 * DIM, DIM), *([nn.LayerNorm(DIM)] if norm else [])),
            "layer": nn.ModuleList(Attend() for _ in range(2)),
        }
    )
    ccr = nn.ModuleDict({"core": core, "logit": nn.Linear(DIM, VOCAB)})
    both = nn.ModuleDict({"dirl": dirl, "ccr": ccr}).eval()
    for parameter in both.parameters():
        nn.init.normal_(parameter, std=0.4)
    return both


def decorrelation(sides):
    flat = [side.flatten(0, 1) for side in sides]
    first, second = ((each - each.mean(0)) / each.std(0) for each in flat)
    table = torch.einsum("ni,nj->ij", first, second) / len(first)
    return sum((table[i, j] - 1) ** 2 if i == j else 0.003 * table[i, j] ** 2 for i in range(DIM) for j in range(DIM))


def contrast(words, seen):
    total = 0.0
    for i in range(len(words)):
        scores = torch.stack([(words[i] @ seen[j] + seen[i] @ words[j]) / 2 / 0.5 for j in range(len(words))])
        total = total + (scores.logsumexp(0) - scores[i]) / len(words)
    return total


def cells(dirl, grid, norm):
    """Tokens of one side, row by row."""
    height, width = grid.shape[1:3]
    tokens = []
    for i in range(height):
        for j in range(width):
            place = grid.new_tensor([2 * j / width - 1, 2 * i / height - 1]).expand(len(grid), 2)
            seen = grid[:, i, j] if norm else torch.cat([grid[:, i, j], place], 1)
            tokens.append(
                seen @ dirl["img"][0].weight[:, :, 0, 0].T
                + dirl["img"][0].bias
                + torch.cat([dirl["w_embedding"].weight[j], dirl["h_embedding"].weight[i]])
            )
    return torch.stack(tokens, 1)


def differences(dirl, before, after, norm):
    first = own, other = cells(dirl, before, norm), cells(dirl, after, norm)
    for layer in dirl["transformer"]:
        own, other = (
            layer.norm1(a + layer.attention(*(x.transpose(0, 1) for x in (a, b, b)))[0].transpose(0, 1))
            for a, b in ((own, other), (other, own))
        )
    return first, first[0] - own, first[1] - other


def speak(ccr, memory, tokens):
    """Logits of every place, and the means that are contrasted."""
    core, length = ccr["core"], tokens.shape[1]
    places = torch.tensor(
        [
            [(math.cos if k % 2 else math.sin)(t / 10_000 ** (k // 2 * 2 / WORD)) for k in range(WORD)]
            for t in range(length)
        ]
    )
    hidden = core["fc"](F.embedding(tokens, core["embed"].weight, padding_idx=0) + places.to(memory))
    later = torch.full((length, length), -torch.inf).triu(1).to(memory)
    padding = torch.zeros(tokens.shape).masked_fill(tokens == 0, -torch.inf).to(memory)
    hidden, memory = hidden.transpose(0, 1), memory.transpose(0, 1)
    words = seen = hidden
    for layer in core["layer"]:
        read = layer.self_att(hidden, hidden, hidden, attn_mask=later, key_padding_mask=padding)[0]
        words = layer.norm1(hidden + read)
        seen = layer.norm2(words + layer.cross_att(words, memory, memory)[0])
        hidden = layer.norm3(seen + layer.linear2(layer.linear1(seen).relu()))
    return ccr["logit"](hidden).transpose(0, 1), words.mean(0), seen.mean(0)


@pytest.fixture(params=[False, True], ids=["clevr-change", "clevr-dc"])
def norm(request):
    return request.param


@pytest.fixture
def found(norm):
    both = modules(norm)
    return both, {name.replace(".", "/", 1): value for name, value in both.state_dict().items()}


def test_outputs_losses_and_gradients_are_those_of_torchs_own_modules(found, norm, outputs, agree, agree_in_gradients):
    both, state = found
    state["ccr/core.position_enc.pe"] = torch.zeros(LONGEST, WORD)
    method = "dirl-dc" if norm else "dirl"
    fusion, decoder, objectives = load_published(method, state)
    grids = torch.randn(2, 3, 4, SIDE, 3)
    parts = nn.ModuleList([fusion, decoder, *objectives.values(), both]).double()

    fused = fusion(*grids.double())
    seen = outputs(fused, decoder, TOKENS, LENGTHS)
    ours = {name: objective(seen) for name, objective in objectives.items()}
    first, before, after = differences(both["dirl"], *grids.double(), norm)
    agree(fused.extras["before_difference"], before, "diff1")
    agree(fused.extras["after_difference"], after, "diff2")
    memory = both["ccr"]["core"]["embed_fc"](torch.cat([before, after], 2)).relu()
    logits, words, read = speak(both["ccr"], memory, TOKENS)
    agree(decoder(fused.memory, TOKENS).logits, logits, "logits")
    labels = TOKENS[:, 1:].masked_fill(torch.arange(1, 5) >= LENGTHS[:, None], -1)
    theirs = {
        "caption": F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-1),
        "decorrelation": decorrelation([both["dirl"]["mlp"](side) for side in first]),
        "ccr": contrast(words, read),
    }
    for name, value in theirs.items():
        agree(ours[name].double(), value, name)
    weights = method_of(method).objectives
    for losses in (ours, theirs):
        sum(weights[name] * losses[name] for name in weights).backward()
    modules_of = {"fusion": fusion, "decoder": decoder} | {f"objectives/{n}": each for n, each in objectives.items()}
    given = {f"{part}/{name}": each.grad for part, m in modules_of.items() for name, each in m.named_parameters()}
    # What is added to all keys changes no softmax, and no standardisation what is added to all features: those
    # gradients are zero but for rounding.
    zero = ("in_proj_bias", "mlp.3.bias")
    expected = {n.replace(".", "/", 1): each.grad for n, each in both.named_parameters() if not n.endswith(zero)}
    agree_in_gradients(given, rename(method, expected))
    assert len(parts) == len(objectives) + 3


def test_greedy_writes_what_the_reference_does(found, norm):
    both, state = found
    fusion, decoder, _ = load_published("dirl", state)
    grids = torch.randn(2, 3, SIDE, SIDE, 3)
    with torch.no_grad():
        _, before, after = differences(both["dirl"], *grids, norm)
        memory = both["ccr"]["core"]["embed_fc"](torch.cat([before, after], 2)).relu()
        written = generate(decoder, fusion(*grids).memory, max_length=LONGEST).tokens
        for row, mine in enumerate(written.tolist()):
            tokens = [2]
            while len(tokens) <= LONGEST and tokens[-1] != 3:
                logits = speak(both["ccr"], memory[row : row + 1], torch.tensor([tokens]))[0][0, -1]
                logits[1] = -torch.inf
                tokens.append(int(logits.argmax()))
            assert mine[: len(tokens) - 1] == tokens[1:]


@pytest.mark.parametrize("names", [("detector", "speaker"), ("encoder", "decoder")])
def test_the_modules_may_have_other_names(found, names):
    renamed = {
        name.replace("dirl/", f"{names[0]}/").replace("ccr/", f"{names[1]}/"): value for name, value in found[1].items()
    }
    fusion, decoder, objectives = load_published("dirl", renamed)
    assert fusion.state_dict()["output.weight"].equal(found[1]["ccr/core.embed_fc.0.weight"])
    assert objectives.keys() == {"caption", "decorrelation", "ccr"} and decoder.unspoken == [1]


def test_the_parts_have_as_many_parameters_as_published():
    for coordinates, published in ((True, 4_736_000), (False, 4_734_976)):
        fusion = Dirl(1024, dim=512, grid_side=14, coordinates=coordinates)
        network = Decorrelation(Widths(1024, 512, 512), PublishedTokens(76, 0, 2, 3), hidden=2048)
        others = sum(each.numel() for each in fusion.output.parameters())
        num = sum(each.numel() for part in (fusion, network) for each in part.parameters())
        assert num - others == published
