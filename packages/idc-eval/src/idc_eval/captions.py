"""BLEU, ROUGE-L and CIDEr of tokenised captions, computed by pycocoevalcap."""

from collections.abc import Sequence
from dataclasses import dataclass

from idc_eval.measured import Measured
from idc_eval.prediction import Prediction
from idc_eval.ptb import tokenize


@dataclass(frozen=True)
class Captions:
    """Tokenised captions: one hypothesis and at least one reference per example."""

    hypotheses: list[str]
    references: list[list[str]]

    def as_coco(self) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """References and hypotheses as pycocoevalcap takes them."""
        return dict(enumerate(self.references)), {k: [caption] for k, caption in enumerate(self.hypotheses)}


def tokenized(predictions: Sequence[Prediction]) -> Captions:
    """Tokenise all captions of the predictions in one go."""
    texts = [reference for prediction in predictions for reference in prediction.references]
    # References first, then hypotheses, as pycocoevalcap orders them: an abbreviation's full stop is read in the
    # light of what follows.
    words = iter(tokenize([*texts, *(prediction.hypothesis for prediction in predictions)]))
    references = [[next(words) for _ in prediction.references] for prediction in predictions]
    return Captions(hypotheses=list(words), references=references)


def bleu(captions: Captions) -> list[Measured]:
    """BLEU-1 to BLEU-4 with the closest reference length, 0..1, 1 where each hypothesis is one of its references.

    Source: Papineni et al., "BLEU", ACL 2002. Example values are smoothed by 1e-15 / 1e-9, so they are never quite 0
    or 1.
    """
    from pycocoevalcap.bleu.bleu import Bleu

    values, per_example = Bleu(4).compute_score(*captions.as_coco(), verbose=0)
    return [Measured(float(value), list(map(float, each))) for value, each in zip(values, per_example, strict=True)]


def rouge_l(captions: Captions) -> Measured:
    """ROUGE-L: longest common subsequence, F with beta 1.2, 0..1, 1 where each hypothesis is one of its references.

    Source: Lin, "ROUGE", 2004. Best precision and best recall may come from different references.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    value, per_example = Rouge().compute_score(*captions.as_coco())
    return Measured(float(value), list(map(float, per_example)))


def cider(captions: Captions) -> Measured:
    """CIDEr-D, 0..10; 10 only where all references of an example are one sentence and the hypothesis repeats it.

    Words weigh by how few examples' references hold them, so a value depends on the set that is scored: compare
    values of one set only, and never average over batches. An n-gram in every example's references weighs nothing,
    hence a single example always scores 0.

    Source: Vedantam et al., "CIDEr", CVPR 2015 (the D variant, called CIDEr by pycocoevalcap and the field).
    """
    from pycocoevalcap.cider.cider import Cider

    value, per_example = Cider().compute_score(*captions.as_coco())
    return Measured(float(value), list(map(float, per_example)))
