"""RSICCformer and Chg2Cap from states of published names, against the modules that torch itself has."""

import math

import pytest
import torch
import torch.nn.functional as F
from idc_models.contract import Fusion
from idc_models.decoders.post_norm import PostNormDecoder
from idc_models.decoding import generate
from idc_models.fusions.chg2cap import Chg2Cap
from idc_models.fusions.rsiccformer import Rsiccformer
from idc_models.zoo import PublishedTokens, load_published, rename
from torch import nn

WIDE, DIM, VOCAB, SIDE, HEADS, LONGEST = 16, 16, 14, 6, 8, 7
LENGTHS = torch.tensor([5, 4, 3])
SPECIAL = {"rsiccformer": (12, 13), "chg2cap": (2, 3)}


def each(num, make):
    return nn.ModuleList(make() for _ in range(num))


def block(width):
    """A residual block, with its parameters at `left`."""
    half = width // 2
    layers = [nn.Conv2d(width, half, 1), nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1)]
    layers += [nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, width, 1), nn.BatchNorm2d(width)]
    return nn.ModuleDict({"left": nn.Sequential(*layers)})


def speaker(width, layers, dead):
    """A decoder, and what of it is never used."""
    parts = {
        "vocab_embedding": nn.Embedding(VOCAB, width),
        "transformer": nn.ModuleDict(
            {"layers": each(layers, lambda: nn.TransformerDecoderLayer(width, HEADS, 4 * width))}
        ),
        "position_encoding": nn.ModuleDict({"embedding_1D": nn.Embedding(52, width)}),
        "wdc": nn.Linear(width, VOCAB),
    }
    for layer in parts["transformer"]["layers"]:
        for name in dead:
            layer.add_module(
                name, nn.Linear(2 * width, width) if name[0] == "f" else nn.MultiheadAttention(width, HEADS)
            )
    return nn.ModuleDict(parts)


def rsiccformer(feature_dim=WIDE):
    def cross():
        parts = {"attention": nn.MultiheadAttention(DIM, HEADS), "norm1": nn.LayerNorm(DIM), "norm2": nn.LayerNorm(DIM)}
        return nn.ModuleDict(parts | {"linear1": nn.Linear(DIM, 4 * DIM), "linear2": nn.Linear(4 * DIM, DIM)})

    encoder = {
        "w_embedding": nn.Embedding(SIDE, DIM // 2),
        "h_embedding": nn.Embedding(SIDE, DIM // 2),
        "embedding_1D": nn.Embedding(SIDE * SIDE, DIM),
        "projection": nn.Conv2d(feature_dim, DIM, 1),
        "projection2": nn.Conv2d(768, DIM, 1),
        "projection3": nn.Conv2d(512, DIM, 1),
        "projection4": nn.Conv2d(256, DIM, 1),
        "transformer": each(3, cross),
        "resblock": each(3, lambda: block(2 * DIM)),
        "LN": each(3, lambda: nn.LayerNorm(2 * DIM)),
    }
    dead = ("self_attn2", "multihead_attn2", "multihead_attn3", "fc_alpha1", "fc_alpha2", "fc_alpha3")
    return nn.ModuleDict({"encoder": nn.ModuleDict(encoder), "decoder": speaker(2 * DIM, 1, dead)})


def chg2cap():
    def transformer(width):
        attention = {
            "to_q": nn.Linear(width, 24, bias=False),
            "to_k": nn.Linear(width, 24, bias=False),
            "to_v": nn.Linear(width, 24, bias=False),
            "to_out": nn.Sequential(nn.Linear(24, width)),
        }
        net = nn.Sequential(nn.Linear(width, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, width))
        return nn.ModuleDict(
            {
                "att": nn.ModuleDict(attention),
                "feedforward": nn.ModuleDict({"net": net}),
                "norm1": nn.LayerNorm(width),
                "norm2": nn.LayerNorm(width),
            }
        )

    encoder = {
        "h_embedding": nn.Embedding(SIDE, WIDE // 2),
        "w_embedding": nn.Embedding(SIDE, WIDE // 2),
        "selftrans": each(2, lambda: nn.ModuleList([transformer(WIDE), transformer(2 * WIDE)])),
    }
    decoder = speaker(2 * DIM, 1, ("fc_alpha1", "fc_alpha2", "fc_alpha3"))
    decoder.add_module("Conv1", nn.Conv2d(2 * WIDE, 2 * DIM, 1))
    decoder.add_module("LN", block(2 * DIM))
    return nn.ModuleDict({"encoder": nn.ModuleDict(encoder), "decoder": decoder})


def drawn(modules):
    for name, value in modules.state_dict().items():
        if value.is_floating_point():
            nn.init.normal_(value, std=0.4)
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    return modules.eval()


def state_of(modules):
    return {name.replace(".", "/", 1): value for name, value in modules.state_dict().items()}


def after_block(modules, grid):
    return (modules["left"](grid) + grid).relu()


def rsicc_memory(encoder, before, after):
    """The published memory, the batch first."""
    height, width = before.shape[1:3]
    places = torch.stack(
        [
            torch.cat([encoder["w_embedding"].weight[j], encoder["h_embedding"].weight[i]])
            for i in range(height)
            for j in range(width)
        ]
    )
    sides = [encoder["projection"](x.movedim(3, 1)).flatten(2).transpose(1, 2) + places for x in (before, after)]
    memory = torch.zeros(())
    for layer, refine, norm in zip(encoder["transformer"], encoder["resblock"], encoder["LN"], strict=True):
        difference, renewed = (sides[1] - sides[0]).transpose(0, 1), []
        for side in sides:
            x = layer["norm1"](
                side + layer["attention"](side.transpose(0, 1), difference, difference)[0].transpose(0, 1)
            )
            renewed.append(layer["norm2"](x + layer["linear2"](layer["linear1"](x).relu())))
        sides = renewed
        memory = memory + torch.cat(sides, 2)
        grid = after_block(refine, memory.transpose(1, 2).reshape(len(before), -1, height, width))
        memory = norm(grid.flatten(2).transpose(1, 2))
    return memory


def chg_attend(modules, x, joint=HEADS):
    query, key = (modules["att"][name](x).chunk(joint, 2) for name in ("to_q", "to_k"))
    read = [(q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(2) @ k for q, k in zip(query, key, strict=True)]
    x = modules["norm1"](modules["att"]["to_out"](torch.cat(read, 2)) + x)
    return modules["norm2"](modules["feedforward"]["net"](x) + x)


def chg_memory(modules, before, after):
    """The memory, slots row by row; published slots are column by column, which attention does not see."""
    encoder, decoder = modules["encoder"], modules["decoder"]
    height, width = before.shape[1:3]
    places = torch.stack(
        [
            torch.cat([encoder["h_embedding"].weight[j], encoder["w_embedding"].weight[i]])
            for i in range(height)
            for j in range(width)
        ]
    )
    first = sides = [x.flatten(1, 2) + places for x in (before, after)]
    for alone, both in encoder["selftrans"]:
        joint = chg_attend(both, torch.cat([chg_attend(alone, side) + side for side in sides], 2))
        sides = [half + old for half, old in zip(joint.chunk(2, 2), first, strict=True)]
    grids = [side.unflatten(1, (height, width)).permute(0, 3, 2, 1) for side in sides]  # b c w h
    grid = torch.cat(grids, 1) + F.cosine_similarity(*grids, dim=1)[:, None]
    grid = after_block(decoder["LN"], decoder["Conv1"](grid))
    return grid.transpose(2, 3).flatten(2).transpose(1, 2)


def speak(decoder, memory, tokens, residual, cross):
    """Logits of every place."""
    width, length = memory.shape[2], tokens.shape[1]
    codes = torch.tensor(
        [
            [(math.cos if k % 2 else math.sin)(t / 10_000 ** (k // 2 * 2 / width)) for k in range(width)]
            for t in range(length)
        ]
    ).to(memory)
    hidden = (decoder["vocab_embedding"](tokens) + codes).transpose(0, 1)
    later, memory = torch.full((length, length), -torch.inf).triu(1).to(memory), memory.transpose(0, 1)
    for layer in decoder["transformer"]["layers"]:
        x = layer.norm1(hidden + layer.self_attn(hidden, hidden, hidden, attn_mask=later)[0])
        x = layer.norm2(x + getattr(layer, cross)(x, memory, memory)[0])
        x = layer.norm3(x + layer.linear2(layer.linear1(x).relu()))
        hidden = x + hidden if residual else x
    return decoder["wdc"](hidden).transpose(0, 1)


@pytest.fixture(params=["rsiccformer", "chg2cap"])
def method(request):
    return request.param


@pytest.fixture
def plain(method):
    """The plain modules, and a function that gives their memory and logits."""
    modules = drawn(rsiccformer() if method == "rsiccformer" else chg2cap())

    def run(before, after, tokens):
        if method == "rsiccformer":
            memory = rsicc_memory(modules["encoder"], before, after)
            return memory, speak(modules["decoder"], memory, tokens, False, "multihead_attn2")
        memory = chg_memory(modules, before, after)
        return memory, speak(modules["decoder"], memory, tokens, True, "multihead_attn")

    return modules, run


def test_memory_logits_and_gradients_are_those_of_torchs_own_modules(method, plain, outputs, agree, agree_in_gradients):
    modules, run = plain
    start, end = SPECIAL[method]
    tokens = torch.tensor([[start, 5, 6, 7, end], [start, 8, 9, end, 0], [start, 4, end, 0, 0]])
    fusion, decoder, objectives = load_published(method, state_of(modules))
    nn.ModuleList([fusion, decoder, modules]).double()
    grids = torch.randn(2, 3, 4, SIDE, WIDE, dtype=torch.float64)
    fused = fusion(*grids)
    memory, logits = run(*grids, tokens)
    agree(fused.memory, memory, "memory")
    agree(decoder(fused.memory, tokens).logits, logits, "logits")
    mine = objectives["caption"](outputs(fused, decoder, tokens, LENGTHS))
    labels = tokens[:, 1:].masked_fill(torch.arange(1, 5) >= LENGTHS[:, None], -1)
    theirs = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-1)
    agree(mine.double(), theirs, "caption")
    mine.backward()
    theirs.backward()
    parts = {"fusion": fusion, "decoder": decoder}
    ours = {f"{part}/{name}": value.grad for part, m in parts.items() for name, value in m.named_parameters()}
    grads = {
        name.replace(".", "/", 1): value.grad for name, value in modules.named_parameters() if value.grad is not None
    }
    # What is added to all keys changes no softmax: that part of the gradient is zero but for rounding.
    grads = {name: value for name, value in grads.items() if not name.endswith("in_proj_bias")}
    agree_in_gradients(ours, rename(method, grads))
    assert all(value is not None for value in ours.values())


def test_greedy_writes_what_the_plain_modules_do(method, plain):
    modules, run = plain
    start, end = SPECIAL[method]
    fusion, decoder, _ = load_published(method, state_of(modules))
    grids = torch.randn(2, 3, SIDE, SIDE, WIDE)
    with torch.no_grad():
        written = generate(decoder, fusion(*grids).memory, max_length=LONGEST).tokens.tolist()
        for row, mine in enumerate(written):
            tokens = [start]
            while len(tokens) <= LONGEST and tokens[-1] != end:
                logits = run(*grids[:, row : row + 1], torch.tensor([tokens]))[1]
                tokens.append(int(logits[0, -1].argmax()))
            assert mine[: len(tokens) - 1] == tokens[1:]


@pytest.mark.parametrize(("width", "used"), [(1024, "projection"), (256, "projection4"), (20, "projection")])
def test_rsiccformer_projects_features_as_wide_as_they_are(width, used):
    state = state_of(drawn(rsiccformer(width)))
    fusion, _, _ = load_published("rsiccformer", state)
    assert fusion.project.weight.equal(state[f"encoder/{used}.weight"])


def num(*parts):
    return sum(value.numel() for part in parts for value in part.parameters())


def test_the_parts_have_as_many_parameters_as_published_but_for_those_that_are_never_used():
    attention, table = 4 * (1024 * 1024 + 1024), 52 * 1024
    dead = 3 * attention + 3 * (2 * 1024 * 1024 + 1024) + table
    tokens = PublishedTokens(501, 0, 499, 500)
    assert num(PostNormDecoder(1024, tokens, layers=1, heads=8)) + dead == 36_766_197
    dead = sum((width + 1) * 512 for width in (768, 512, 256)) + 14 * 14 * 512
    assert num(Rsiccformer(1024, dim=512, grid_side=14)) + dead == 21_125_632

    with torch.device("meta"):
        fusion = Chg2Cap(2048, dim=2048, attention_dim=2048, feed_dim=512, as_published=True)
        decoder = PostNormDecoder(2048, PublishedTokens(463, 0, 2, 3), layers=1, heads=8)
    dead = 3 * (2048 * 2048 + 4096 * 2048)
    head = num(fusion.mix, fusion.refine)
    assert num(fusion) - head + dead == 170_015_744
    dead = 3 * (2 * 2048 * 2048 + 2048) + 52 * 2048
    assert num(decoder) + head + dead == 116_357_583


@pytest.mark.parametrize("fusion", [Rsiccformer(6, dim=16), Chg2Cap(6, dim=16)])
def test_values_may_be_other_than_keys_and_grids_of_any_size(fusion: Fusion):
    memory = fusion.eval()(*torch.randn(2, 2, 3, 5, 6)).memory
    assert memory.shape == (2, 15, fusion.memory_dim) and memory.isfinite().all()
