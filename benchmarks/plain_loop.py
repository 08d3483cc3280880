"""Training and decoding like published code, with our weights: the reference of `zoo.py`.

Written from the papers and from known properties of the published code: match scores in every layer; keys and values of
the memory recomputed for every caption and token; masks and coordinates piece by piece; all positions up to the maximum
length at every token.
"""

from typing import Any

import torch
from idc_models.attention import StackedAttention
from idc_models.captioner import Captioner
from idc_models.decoders.post_norm import PostNormDecoder
from idc_models.positions import interleaved
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, gelu

SIDE, LENGTH = 14, 24
"""Side length of a grid in cells, and tokens of a caption."""


class Plain:
    """SCORER's training and greedy decoding, with our weights."""

    def __init__(self, model: Captioner) -> None:
        self.fusion: Any = model.fusion
        self.decoder: Any = model.decoder
        self.scale: Any = model.get_submodule("objectives.cross-view.scale")

    def loss(self, before: Tensor, after: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss of grids `b c h w` with one caption each."""
        memory, forth, back = self.detect(coordinates(before), coordinates(after))
        mask = torch.zeros(tokens.shape)
        for row, length in enumerate(lengths.tolist()):
            mask[row, :length] = 1
        hidden = self.speak(memory, tokens, mask)
        caption = cross_entropy(
            hidden[:, :-1].transpose(1, 2), torch.where(mask > 0, tokens, -1)[:, 1:], ignore_index=-1
        )
        own = torch.arange(len(before))
        return caption + 0.1 * (cross_entropy(forth, own) + cross_entropy(back, own)) / 2

    def detect(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the memory, and the match scores of both directions."""
        fusion, sides = self.fusion, []
        columns, rows = fusion.positions.columns.weight, fusion.positions.rows.weight
        places = torch.cat([columns[None].repeat(SIDE, 1, 1), rows[:, None].repeat(1, SIDE, 1)], dim=2).permute(2, 0, 1)
        for grid in (before, after):
            sides.append((fusion.project(grid) + places[None].repeat(len(grid), 1, 1, 1)).flatten(2).transpose(1, 2))
        own, other = sides
        forth = back = own.new_zeros(())
        for layer in fusion.layers:
            (renewed, forth), (other, back) = self.match(layer, own, other), self.match(layer, other, own)
            own = renewed
        hidden = fusion.output(torch.cat([own, other], dim=2))
        return dropout(hidden, fusion.dropout.p, fusion.training).relu(), forth, back

    def match(self, layer: Any, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Update one side, and score it against the other side of every pair."""
        queries, keys, values = (
            split(part(x), 8) for part, x in ((layer.query, own), (layer.key, other), (layer.value, other))
        )  # pyright: ignore
        scores = torch.einsum("ahmd,bhnd->abmn", queries, keys)
        scores = (scores.max(3).values.sum(2) / own.shape[1] + scores.max(2).values.sum(2) / own.shape[1]) / 2
        read = attend(queries, keys, values, None, layer.rate, layer.training)
        return layer.layer_norm(own + read), scores * self.scale.logit_scale.exp()

    def speak(self, memory: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the logits after each token."""
        decoder = self.decoder
        embedded = decoder.embedding(tokens)
        embedded = embedded + interleaved(tokens.shape[1], embedded.shape[2], like=embedded)
        hidden = decoder.norm(decoder.dropout(decoder.project(embedded)))
        added = (1 - torch.tril(torch.ones(tokens.shape[1], tokens.shape[1])) * mask[:, None])[:, None] * -10_000.0
        for layer in decoder.layers:
            hidden = layer.norm1(hidden + self.read(layer.self_attention, hidden, hidden, added))
            hidden = layer.norm2(hidden + self.read(layer.cross_attention, hidden, memory, None))
            inner = gelu(layer.linear1(hidden))
            hidden = layer.norm3(layer.dropout(layer.linear2(inner)) + inner)
        return decoder.output(hidden)

    def read(self, part: Any, hidden: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """Attend, recomputing all keys and values."""
        queries, keys, values = (
            split(x, part.heads) for x in (part.query(hidden), part.key(source), part.value(source))
        )
        return attend(queries, keys, values, mask, part.rate, part.training)

    @torch.no_grad()
    def greedy(self, memory: Tensor, start: int) -> Tensor:
        """Write a caption of maximum length for one pair."""
        tokens, mask = torch.zeros(1, LENGTH, dtype=torch.long), torch.zeros(1, LENGTH)
        following = start
        for place in range(LENGTH):
            tokens[0, place], mask[0, place] = following, 1
            logits = self.speak(memory, tokens, mask)
            logits[:, :, [0, start]] = -1e10  # as ours, which never writes these
            following = int(logits[0, place].argmax())
        return tokens[:, 1:]


def coordinates(grid: Tensor) -> Tensor:
    """Append coordinates, cell by cell."""
    places = grid.new_zeros(2, SIDE, SIDE)
    for i in range(SIDE):
        for j in range(SIDE):
            places[0][i][j] = j * 2.0 / SIDE - 1
            places[1][i][j] = i * 2.0 / SIDE - 1
    return torch.cat([grid, torch.stack([places] * len(grid))], dim=1)


def split(wide: Tensor, heads: int) -> Tensor:
    """Split into heads."""
    return wide.unflatten(2, (heads, -1)).transpose(1, 2)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, rate: float, training: bool) -> Tensor:
    """Attend with a mask that is added to the scores."""
    scores = queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5
    shares = dropout((scores if mask is None else scores + mask).softmax(3), rate, training)
    return (shares @ values).transpose(1, 2).flatten(2)


@torch.no_grad()
def plain_beam(decoder: PostNormDecoder, memory: Tensor, beam: int, words: int, places: int) -> Tensor:
    """RSICCformer's beam search, which computes `places` positions at every token."""
    vocab = decoder.vocab
    tokens = torch.full((beam, places), vocab.pad_id)
    tokens[:, 0] = vocab.bos_id
    memory, totals = memory.expand(beam, -1, -1), torch.zeros(beam, 1)
    causal = nn.Transformer.generate_square_subsequent_mask(places)
    for place in range(words):
        embedded = decoder.embedding(tokens)
        hidden = embedded + interleaved(places, embedded.shape[2], like=embedded)
        for layer in decoder.layers:
            hidden = layer.norm1(hidden + torch_attention(layer.self_attn, hidden, hidden, causal))
            hidden = layer.norm2(hidden + torch_attention(layer.multihead_attn, hidden, memory, None))
            hidden = layer.norm3(hidden + layer.linear2(layer.linear1(hidden).relu()))
        scores = decoder.output(hidden)[:, place].log_softmax(1)
        scores[:, [vocab.pad_id, vocab.bos_id]] = -torch.inf
        scores = totals + scores
        totals, choice = (scores[0] if place == 0 else scores.flatten()).topk(beam)
        tokens, totals = tokens[choice // vocab.size], totals[:, None]
        tokens[:, place + 1] = choice % vocab.size
    return tokens[:1, 1 : words + 1]


def torch_attention(part: StackedAttention, hidden: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    """Attend like PyTorch's module."""
    return nn.MultiheadAttention.forward(part, hidden, source, source, attn_mask=mask, need_weights=False)[0]
