"""Notes on a set of scores: what makes its values misleading."""

from collections.abc import Collection, Iterator, Sequence

from idc_eval.prediction import Prediction
from idc_eval.protocols import CHARACTERS_PROTOCOL, Protocol
from idc_eval.scripts import without_blanks

UNFAMILIAR = 0.5
"""Below this value of `familiar`, images count as unlike the training images."""


_FEW = 0.05  # share of the pairs; any data set has a few odd ones


def notes(protocol: Protocol, predictions: Sequence[Prediction], metrics: Collection[str]) -> Iterator[str]:
    """Yield one sentence for each oddity of the scored pairs that affects the metrics."""
    num = len(predictions)
    if protocol.published and num != protocol.published:
        yield (f"the published test split has {protocol.published:,} pairs, this file {num:,}: not comparable to it")
    if protocol.words != "characters" and without_blanks(text for p in predictions for text in p.references):
        yield (
            f"the references are in a script without spaces between words, and protocol {protocol.name} takes a whole "
            f"sentence as one word: use protocol {CHARACTERS_PROTOCOL}"
        )
    if "cider" in metrics and num > 1 and len({tuple(p.references) for p in predictions}) == 1:
        yield "all pairs have the same references, so all of CIDEr's word weights, and CIDEr itself, are 0"
    strange, known = unfamiliar(predictions)
    if strange > _FEW * known:
        yield (
            f"the images of {strange:,} of {known:,} pairs are unlike those that the model was trained on (familiar "
            f"below {UNFAMILIAR:g}), so its captions of them are guesses"
        )


def unfamiliar(predictions: Sequence[Prediction]) -> tuple[int, int]:
    """Return how many pairs are unlike the training pairs, and for how many this is known."""
    known = [p.familiar for p in predictions if p.familiar is not None]
    return sum(value < UNFAMILIAR for value in known), len(known)
