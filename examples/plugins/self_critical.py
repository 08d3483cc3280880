"""Self-critical training: what a caption that was drawn scores beyond the likeliest one is its reward.

Source: Rennie et al., Self-Critical Sequence Training for Image Captioning, CVPR 2017. Differs from the paper: the
words are weighed by the first references that are met, not by those of the whole training set.
"""

import torch
from idc_eval.cider import Cider
from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.decoding import generate, until_end
from torch import Tensor


class SelfCritical(Objective):
    """Expected CIDEr-D that is missing to 10, as a share of 10; captions are drawn, and none is read by heart.

    Args:
        corpus: how many pairs' references words are weighed by.
    """

    def __init__(self, widths: Widths, vocab: TokenSpace, *, corpus: int = 1000) -> None:
        super().__init__(widths, vocab)
        self.corpus = corpus
        self.known: list[list[str]] = []
        self.cider: Cider | None = None

    def forward(self, outputs: Outputs) -> Tensor:
        """Draw a caption of each pair and pull the model towards it, as far as it is better than the likeliest."""
        decoder, memory = outputs.decoder, outputs.fused.memory
        drawn = generate(decoder, memory, sample=True).tokens
        reward, baseline = self.reward(drawn, outputs), self.reward(generate(decoder, memory).tokens, outputs)
        begun = torch.cat([torch.full_like(drawn[:, :1], decoder.vocab.bos_id), drawn[:, :-1]], dim=1)
        each = decoder(memory, begun).logits.float().log_softmax(2).gather(2, drawn[..., None])[..., 0]
        log_probs = (each * until_end(drawn, decoder.vocab.eos_id)).sum(1)
        pull = -((reward - baseline) * log_probs).mean()
        return 1 - reward.mean() + pull - pull.detach()  # the value of the first, the gradient of the second

    def reward(self, tokens: Tensor, outputs: Outputs) -> Tensor:
        """Score captions by CIDEr-D, from 0 to 1."""
        references = [[text.lower() for text in of_pair] for of_pair in outputs.references]
        if self.cider is None or len(self.known) < self.corpus:
            self.known += references
            self.cider = Cider(self.known)
        said = [outputs.decoder.vocab.decode(row) for row in tokens.tolist()]
        return torch.tensor(self.cider.score(said, references) / 10, dtype=torch.float32, device=tokens.device)
