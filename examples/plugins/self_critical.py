"""Self-critical training: the reward of a sampled caption is its score minus that of the greedy caption.

Source: Rennie et al., Self-Critical Sequence Training for Image Captioning, CVPR 2017. Differs from the paper: IDF
weights come from the first batches of references, not from the whole training set.
"""

import torch
from idc_eval.cider import Cider
from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.decoding import generate, until_end
from torch import Tensor


class SelfCritical(Objective):
    """One minus the expected CIDEr-D / 10 of sampled captions.

    Args:
        corpus: number of pairs whose references give the IDF weights.
    """

    def __init__(self, widths: Widths, vocab: TokenSpace, *, corpus: int = 1000) -> None:
        super().__init__(widths, vocab)
        self.corpus = corpus
        self.known: list[list[str]] = []
        self.cider: Cider | None = None

    def forward(self, outputs: Outputs) -> Tensor:
        """Sample a caption per pair and reinforce it by its advantage over the greedy caption."""
        decoder, memory = outputs.decoder, outputs.fused.memory
        drawn = generate(decoder, memory, sample=True).tokens
        reward, baseline = self.reward(drawn, outputs), self.reward(generate(decoder, memory).tokens, outputs)
        begun = torch.cat([torch.full_like(drawn[:, :1], decoder.vocab.bos_id), drawn[:, :-1]], dim=1)
        each = decoder(memory, begun).logits.float().log_softmax(2).gather(2, drawn[..., None])[..., 0]
        log_probs = (each * until_end(drawn, decoder.vocab.eos_id)).sum(1)
        pull = -((reward - baseline) * log_probs).mean()
        return 1 - reward.mean() + pull - pull.detach()  # the value of 1 - reward, the gradient of `pull`

    def reward(self, tokens: Tensor, outputs: Outputs) -> Tensor:
        """Score captions by CIDEr-D, from 0 to 1."""
        references = [[text.lower() for text in of_pair] for of_pair in outputs.references]
        if self.cider is None or len(self.known) < self.corpus:
            self.known += references
            self.cider = Cider(self.known)
        said = [outputs.decoder.vocab.decode(row) for row in tokens.tolist()]
        return torch.tensor(self.cider.score(said, references) / 10, dtype=torch.float32, device=tokens.device)
