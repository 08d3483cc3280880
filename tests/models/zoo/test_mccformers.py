import math

import pytest
import torch
from idc_models.decoders.post_norm import PostNormDecoder
from idc_models.decoders.summed_lstm import SummedLstmDecoder
from idc_models.decoding import generate
from idc_models.fusions.mccformers_d import MccformersD
from idc_models.fusions.mccformers_s import MccformersS
from idc_models.zoo import load_published, method_of, rename
from torch import nn

WORDS, LENGTHS = [[1, 4, 5, 2], [1, 6, 2, 0]], [4, 3]


def normed(norm, row):
    return (row - row.mean()) / (((row - row.mean()) ** 2).mean() + norm.eps).sqrt() * norm.weight + norm.bias


def fed(layer, row):
    return layer.linear2.weight @ (layer.linear1.weight @ row + layer.linear1.bias).clamp(min=0) + layer.linear2.bias


def attended(attention, rows, source, causal=False):
    """Multi-head attention, row by row and head by head."""
    width, heads = attention.embed_dim, attention.num_heads
    size, read = width // heads, []
    query, key, value = attention.in_proj_weight.split(width)
    query_bias, key_bias, value_bias = attention.in_proj_bias.split(width)
    for place, row in enumerate(rows):
        seen, parts = source[: place + 1] if causal else source, []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            wanted = (query @ row + query_bias)[own]
            scores = torch.stack([wanted @ (key @ other + key_bias)[own] / math.sqrt(size) for other in seen])
            shares = scores.exp() / scores.exp().sum()
            parts.append(
                sum(share * (value @ other + value_bias)[own] for share, other in zip(shares, seen, strict=True))
            )
        read.append(attention.out_proj.weight @ torch.cat(parts) + attention.out_proj.bias)
    return read


def cells(fusion, grid):
    """The projected cells of one image, row by row, column before row in their position codes."""
    weight, bias = fusion.project.weight.flatten(1), fusion.project.bias
    columns, rows = fusion.positions.columns.weight, fusion.positions.rows.weight
    height, width = grid.shape[:2]
    return [weight @ grid[i, j] + bias + torch.cat([columns[j], rows[i]]) for i in range(height) for j in range(width)]


def plain_s(fusion, before, after):
    rows = [
        row + code
        for side, code in zip((before, after), fusion.side.weight, strict=True)
        for row in cells(fusion, side)
    ]
    for layer in fusion.layers:
        heard = attended(layer.self_attn, rows, rows)
        rows = [normed(layer.norm1, row + read) for row, read in zip(rows, heard, strict=True)]
        rows = [normed(layer.norm2, row + fed(layer, row)) for row in rows]
    half = len(rows) // 2
    return torch.stack([torch.cat(both) for both in zip(rows[:half], rows[half:], strict=True)])


def plain_d(fusion, before, after):
    one, two = cells(fusion, before), cells(fusion, after)
    for layer in fusion.layers:
        renewed = []
        for own, other in ((one, two), (two, one)):
            rows = [
                normed(layer.norm1, row + read)
                for row, read in zip(own, attended(layer.attention, own, other), strict=True)
            ]
            renewed.append([normed(layer.norm2, row + fed(layer, row)) for row in rows])
        one, two = renewed
    return torch.stack([torch.cat(both) for both in zip(one, two, strict=True)])


def plain_transformer(decoder, memory, caption):
    width, rows = decoder.state_dim, []
    for place, word in enumerate(caption):
        angles = [place / 10_000 ** (2 * (channel // 2) / width) for channel in range(width)]
        codes = [math.cos(angle) if channel % 2 else math.sin(angle) for channel, angle in enumerate(angles)]
        rows.append(decoder.embedding.weight[word] + memory.new_tensor(codes))
    for layer in decoder.layers:
        heard = attended(layer.self_attn, rows, rows, causal=True)
        rows = [normed(layer.norm1, row + read) for row, read in zip(rows, heard, strict=True)]
        seen = attended(layer.multihead_attn, rows, memory)
        rows = [normed(layer.norm2, row + read) for row, read in zip(rows, seen, strict=True)]
        rows = [normed(layer.norm3, row + fed(layer, row)) for row in rows]
    return torch.stack([decoder.output.weight @ row + decoder.output.bias for row in rows])


def plain_lstm(decoder, memory, caption):
    hidden = kept = memory.new_zeros(decoder.state_dim)
    cell, logits = decoder.cell, []
    for word in caption:
        given = torch.cat([decoder.embedding.weight[word], sum(memory)])
        parts = cell.weight_ih @ given + cell.bias_ih + cell.weight_hh @ hidden + cell.bias_hh
        enter, forget, fresh, leave = parts.view(4, -1)
        kept = kept * forget.sigmoid() + enter.sigmoid() * fresh.tanh()
        hidden = leave.sigmoid() * kept.tanh()
        logits.append(decoder.output.weight @ hidden + decoder.output.bias)
    return torch.stack(logits)


def shaken(part):
    """In eval mode and double precision, with weights of which none is 0 or 1."""
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.4)
    return part.double().eval()


def gradients(value, part):
    probe = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    found = torch.autograd.grad((value * probe.cos()).sum(), [*part.parameters()])
    return dict(zip(dict(part.named_parameters()), found, strict=True))


@pytest.mark.parametrize(("plugin", "plain"), [(MccformersS, plain_s), (MccformersD, plain_d)])
def test_a_fusion_is_what_its_equations_say(plugin, plain, agree, agree_in_gradients):
    fusion = shaken(plugin(3, dim=8, heads=2, layers=2, grid_side=3))
    before, after = torch.randn(2, 2, 2, 3, 3, dtype=torch.float64)
    memory = fusion(before, after).memory
    expected = torch.stack([plain(fusion, *pair) for pair in zip(before, after, strict=True)])
    agree(memory, expected)
    agree_in_gradients(gradients(memory, fusion), gradients(expected, fusion))


@pytest.mark.parametrize(("plugin", "plain"), [(PostNormDecoder, plain_transformer), (SummedLstmDecoder, plain_lstm)])
def test_a_decoder_is_what_its_equations_say(plugin, plain, vocab, agree, agree_in_gradients):
    decoder = shaken(plugin(8, vocab))
    memory, tokens = torch.randn(2, 3, 8, dtype=torch.float64), torch.tensor(WORDS)
    logits = decoder(memory, tokens).logits
    expected = torch.stack([plain(decoder, *pair) for pair in zip(memory, WORDS, strict=True)])
    agree(logits, expected)
    agree_in_gradients(gradients(logits, decoder), gradients(expected, decoder))


def test_a_grid_that_is_too_large_is_told_what_to_raise():
    with pytest.raises(ValueError, match=r"17 x 3 cells.* 16 x 16.*grid_side"):
        MccformersD(3, dim=8)(torch.zeros(1, 17, 3, 3), torch.zeros(1, 17, 3, 3))


@pytest.mark.parametrize("plugin", [MccformersS, MccformersD])
def test_coordinates_change_what_is_seen(plugin):
    assert plugin(3, dim=8, coordinates=True).project.in_channels == 5
    with pytest.raises(ValueError, match="fusion 'mccformers-[sd]': dim is 6 and heads is 4"):
        plugin(3, dim=6)


def test_memory_of_another_width_is_projected(vocab):
    decoder = PostNormDecoder(6, vocab, dim=8)
    assert decoder(torch.randn(2, 3, 6), torch.tensor(WORDS)).states.shape == (2, 4, 8)
    with pytest.raises(ValueError, match="decoder 'post-norm': its width is 6 and heads is 4"):
        PostNormDecoder(6, vocab)


def test_mccformers_s_is_the_published_one(published, outputs, agree, agree_in_gradients):
    fixture = published("mccformers_s")
    fusion, decoder, objectives = load_published("mccformers-s", fixture.state)
    fused = fusion(fixture.grid("before"), fixture.grid("after"))
    agree(fused.memory, fixture.outputs["memory"].transpose(0, 1), "memory")
    agree(decoder(fused.memory, fixture.inputs["tokens"]).logits, fixture.outputs["logits"], "logits")
    loss = objectives["caption"](outputs(fused, decoder, fixture.inputs["tokens"], fixture.inputs["lengths"]))
    agree(loss, fixture.outputs["loss/total"], "loss")
    loss.backward()
    ours = {f"fusion/{name}": parameter.grad for name, parameter in fusion.named_parameters()}
    ours |= {f"decoder/{name}": parameter.grad for name, parameter in decoder.named_parameters()}
    agree_in_gradients(ours, rename("mccformers-s", fixture.grads))

    lengths = fixture.outputs["greedy_lengths"]
    written = generate(decoder, fused.memory.detach(), max_length=int(lengths.max()) + 1)
    for row, expected, length in zip(written.tokens, fixture.outputs["greedy"], lengths.tolist(), strict=True):
        assert row[length] == decoder.vocab.eos_id
        assert row[:length].equal(expected[:length])


@pytest.mark.parametrize("method", ["mccformers-s", "mccformers-d"])
def test_weights_under_published_names_are_found(method, vocab):
    plugin = {"mccformers-s": MccformersS, "mccformers-d": MccformersD}[method]
    fusion = shaken(plugin(3, dim=8, grid_side=5)).float()
    decoder = shaken(PostNormDecoder(fusion.memory_dim, vocab, layers=1)).float()
    back = {ours: theirs for theirs, ours in method_of(method).names.items() if ours and "multihead" not in theirs}
    back = {ours.replace("*", "0"): theirs.replace("*", "0") for ours, theirs in back.items()} | {
        ours.replace("*", "1"): theirs.replace("*", "1") for ours, theirs in back.items()
    }
    state = {}
    for part, module in (("fusion", fusion), ("decoder", decoder)):
        for name, value in module.state_dict().items():
            start = max((each for each in back if f"{part}/{name}".startswith(each)), key=len)
            state[back[start] + f"{part}/{name}".removeprefix(start)] = value
    loaded, reader, _ = load_published(method, state, {"vocab": vocab})
    grids = torch.randn(2, 1, 4, 5, 3)
    assert loaded(*grids).memory.equal(fusion(*grids).memory)
    tokens = torch.tensor(WORDS[:1])
    assert reader(loaded(*grids).memory, tokens).logits.equal(decoder(fusion(*grids).memory, tokens).logits)
