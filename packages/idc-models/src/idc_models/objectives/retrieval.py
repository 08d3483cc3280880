"""CLIP4IDC's first stage: match image pairs with their captions."""

import math

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.positions import sinusoids


class Retrieval(Objective):
    """Contrastive loss, in nats: match each caption with its pair among all pairs of the batch, and the reverse.

    A pair is represented by the mean of its memory slots, a caption by the output of the objective's own Transformer at
    the end token. The decoder is not used, because it sees the pair. Pairs that share a reference are not negatives of
    each other, since "nothing has changed" describes many pairs.

    Source: Guo, Wang, Laaksonen, CLIP4IDC, AACL 2022; InfoNCE: van den Oord, Li, Vinyals, Representation Learning with
    Contrastive Predictive Coding, 2018; both directions and the learned scale, at most 100: Radford et al., Learning
    Transferable Visual Models From Natural Language Supervision (CLIP), ICML 2021. Differs from the paper: the
    Transformer for captions is trained from scratch on the run's vocabulary, instead of CLIP's.

    Args:
        widths: Width of the memory.
        vocab: The tokens of the captions.
        dim: Width of the Transformer for captions and of the compared vectors.
        layers: Number of its layers.
        heads: Number of attention heads, a divisor of `dim`.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    def __init__(
        self,
        widths: Widths,
        vocab: TokenSpace,
        *,
        dim: PositiveInt = 256,
        layers: PositiveInt = 2,
        heads: PositiveInt = 4,
    ) -> None:
        super().__init__(widths, vocab)
        if dim % heads:
            raise ValueError(f"objective 'retrieval': dim is {dim!r} and heads is {heads!r}; heads must divide dim")
        self.embedding = nn.Embedding(vocab.size, dim)
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.reader = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.project = nn.Linear(widths.memory, dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean over both directions."""
        captions = normalize(self.read(outputs.tokens, outputs.lengths), dim=1)
        pairs = normalize(self.project(outputs.fused.memory.mean(1)), dim=1)
        if self.training:  # same as clamping after each optimizer step
            self.logit_scale.data.clamp_(max=math.log(100))
        scores = captions @ pairs.T * self.logit_scale.exp()
        own = torch.nn.functional.one_hot(outputs.pair, len(pairs)).bool()
        found = cross_entropy(scores.masked_fill(outputs.shared[outputs.pair] & ~own, -torch.inf), outputs.pair)
        # For each caption's pair, score the caption against those of pairs that share no reference with it.
        target = torch.arange(len(captions), device=scores.device)
        alike = outputs.shared[outputs.pair][:, outputs.pair] & (target != target[:, None])
        described = cross_entropy(scores.T[outputs.pair].masked_fill(alike, -torch.inf), target)
        return (found + described) / 2

    def read(self, tokens: Tensor, lengths: Tensor) -> Float[Tensor, "n d"]:
        """Return the Transformer's output at the last token of each caption."""
        embedded = self.embedding(tokens)
        embedded = embedded + sinusoids(tokens.shape[1], embedded.shape[2], like=embedded)
        padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
        read = self.reader(embedded, src_key_padding_mask=padding)
        return read[torch.arange(len(read), device=read.device), lengths - 1]
