"""Self-critical training: sampled captions are reinforced according to their CIDEr-D.

This objective is in idc_run because its reward is idc_eval's CIDEr-D, and idc_models does not depend on idc_eval. A
model trained with it captions without it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from idc_eval.cider import Cider
from idc_models.contract import Objective, Outputs, TokenSpace, Widths
from idc_models.decoding import generate, until_end
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

_END = "<end>"
_NO_WORD = re.compile(r"[^\w\s'-]")
_BEST = 10.0  # CIDEr-D of a caption that equals all of its references


class SelfCritical(Objective):
    """One minus CIDEr-D / 10 of sampled captions; the gradient raises the probability of those that beat a baseline.

    IDF weights come from all references of the training split. The end of a caption counts as a word, because otherwise
    truncated captions would be rewarded; so values differ slightly from those of idc-eval. Train with cross-entropy
    first, and start from that run (`train.start`).

    Source: Rennie et al., Self-Critical Sequence Training for Image Captioning, CVPR 2017, equations 7 to 9; the
    baseline `samples` is that of Luo, A Better Variant of Self-Critical Sequence Training, 2020. Differs from the
    papers: there is no cross-entropy term; add one with the weights of the objectives.

    Args:
        widths: Unused.
        vocab: The tokens of the captions.
        baseline: The baseline of a sampled caption: the greedy caption (`greedy`), or the mean of the other samples of
            the same pair (`samples`).
        samples: Number of captions to sample per pair.

    Raises:
        ValueError: `samples` is 1 with the baseline `samples`.
    """

    def __init__(
        self,
        widths: Widths,
        vocab: TokenSpace,
        *,
        baseline: Literal["greedy", "samples"] = "greedy",
        samples: PositiveInt = 1,
    ) -> None:
        super().__init__(widths, vocab)
        if baseline == "samples" and samples < 2:
            raise ValueError(
                f"objective 'scst': baseline is {baseline!r} and samples is {samples!r}; each sample is compared with "
                "the others, so use at least two, for example samples: 5"
            )
        self.baseline, self.samples = baseline, samples
        self._cider: Cider | None = None

    def meet(self, references: Callable[[], Sequence[Sequence[str]]]) -> None:
        """Compute IDF weights from the references of the training split."""
        self._cider = Cider([_ended(of_pair) for of_pair in references()])

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Sample captions and return 1 - CIDEr-D / 10; in eval mode, that of the greedy captions."""
        decoder, memory = outputs.decoder, outputs.fused.memory
        references = [_ended(of_pair) for of_pair in outputs.references]
        if not self.training:
            return 1 - self._reward(generate(decoder, memory).tokens, decoder.vocab, references).mean()
        drawn_of = memory.repeat_interleave(self.samples, dim=0)
        drawn = generate(decoder, drawn_of, sample=True).tokens
        several = [of_pair for of_pair in references for _ in range(self.samples)]
        rewards = self._reward(drawn, decoder.vocab, several).view(-1, self.samples)
        if self.baseline == "samples":
            others = (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)
        else:
            decoder.eval()  # greedy decoding without dropout, as in the test
            others = self._reward(generate(decoder, memory).tokens, decoder.vocab, references)[:, None]
            decoder.train()
        begun = torch.cat([torch.full_like(drawn[:, :1], decoder.vocab.bos_id), drawn[:, :-1]], dim=1)
        each = decoder(drawn_of, begun).logits.float().log_softmax(2).gather(2, drawn[..., None])[..., 0]
        log_probs = (each * until_end(drawn, decoder.vocab.eos_id)).sum(1).view_as(rewards)
        pull = -((rewards - others) * log_probs).mean()
        return 1 - rewards.mean() + pull - pull.detach()  # the value of the first two terms, the gradient of `pull`

    def _reward(
        self, tokens: Int[Tensor, "n l"], vocab: TokenSpace, references: Sequence[Sequence[str]]
    ) -> Float[Tensor, " n"]:
        """Score captions from 0 to 1; a truncated caption lacks the end word."""
        ends = (tokens == vocab.eos_id).any(1).tolist()
        said = [
            f"{_words(vocab.decode(row))} {_END if end else ''}" for row, end in zip(tokens.tolist(), ends, strict=True)
        ]
        cider = self._cider or Cider(references)
        return torch.tensor(cider.score(said, references) / _BEST, dtype=torch.float32, device=tokens.device)


def _words(caption: str) -> str:
    return _NO_WORD.sub(" ", caption.lower())


def _ended(references: Sequence[str]) -> list[str]:
    return [f"{_words(reference)} {_END}" for reference in references]
