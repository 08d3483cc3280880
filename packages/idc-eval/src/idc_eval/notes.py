"""What people are to know of a set of scores beside its values."""

from collections.abc import Collection, Iterator, Sequence

from idc_eval.prediction import Prediction
from idc_eval.protocols import CHARACTERS_PROTOCOL, Protocol
from idc_eval.scripts import without_blanks

UNFAMILIAR = 0.5
"""Below this, `familiar` says that images are unlike those that the model was trained on."""


_FEW = 0.05  # of the pairs: a few of any data set look odd


def notes(protocol: Protocol, predictions: Sequence[Prediction], metrics: Collection[str]) -> Iterator[str]:
    """Say what is odd about the scored pairs and what it does to the metrics, each in one sentence."""
    num = len(predictions)
    if protocol.published and num != protocol.published:
        yield (
            f"the published test split has {protocol.published:,} pairs here, this file {num:,}: not comparable to it"
        )
    if protocol.words != "characters" and without_blanks(text for p in predictions for text in p.references):
        yield (
            f"the references are in a script without blanks between words, and protocol {protocol.name} takes a whole "
            f"sentence for one word: use protocol {CHARACTERS_PROTOCOL}"
        )
    if "cider" in metrics and num > 1 and len({tuple(p.references) for p in predictions}) == 1:
        yield "all pairs have the same references, so CIDEr, which weighs words by how few pairs have them, is always 0"
    strange, known = unfamiliar(predictions)
    if strange > _FEW * known:
        yield (
            f"the images of {strange:,} of {known:,} pairs are unlike those that the model was trained on (familiar "
            f"below {UNFAMILIAR:g}), so its captions of them are guesses"
        )


def unfamiliar(predictions: Sequence[Prediction]) -> tuple[int, int]:
    """How many pairs are unlike those that the model was trained on, and of how many that is known."""
    known = [p.familiar for p in predictions if p.familiar is not None]
    return sum(value < UNFAMILIAR for value in known), len(known)
