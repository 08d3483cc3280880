"""Intermediate results that several metrics share: tokenised captions, verdicts, claims, confidences."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from idc_eval import captions
from idc_eval.changed import ChangeReader
from idc_eval.measured import Measured
from idc_eval.meteor import Meteor
from idc_eval.prediction import Prediction
from idc_eval.protocols import Protocol
from idc_eval.scene_truth import Verdict, judge
from idc_eval.statement import read_statement

_TRIED = 500  # references of scenes that are tried, to see whether they can be read


class Evaluation:
    """Intermediate results of one set of predictions, each computed once, when a metric first needs it."""

    def __init__(
        self,
        predictions: Sequence[Prediction],
        meteor: Meteor,
        protocol: Protocol,
        reader: ChangeReader,
        images: Path | None = None,
    ) -> None:
        self.predictions = predictions
        self.meteor = meteor
        self.protocol = protocol
        self.reader = reader
        self.images = images

    @cached_property
    def captions(self) -> captions.Captions:
        """The tokenised captions."""
        return self.protocol.captions(self.predictions)

    @cached_property
    def bleu(self) -> list[Measured]:
        """BLEU-1 to BLEU-4."""
        return captions.bleu(self.captions)

    @cached_property
    def verdicts(self) -> list[Verdict | None]:
        """Return the verdict on each hypothesis, None where the scene's truth is unknown."""
        return [None if p.truth is None else _verdict(p) for p in self.predictions]

    @cached_property
    def confidences(self) -> list[float]:
        """Return the model's mean word probability for each hypothesis."""
        from idc_eval.calibration import confidence

        return [confidence(p) for p in self.predictions]

    @cached_property
    def cider(self) -> Measured:
        """CIDEr-D."""
        return captions.cider(self.captions)

    @property
    def right(self) -> list[bool | None]:
        """Return whether each hypothesis is right, None where the scene's truth is unknown."""
        return [verdict and verdict.statement_right for verdict in self.verdicts]

    @cached_property
    def claims(self) -> list[bool]:
        """Return whether each hypothesis claims a change."""
        return [self.reader.claims_change(p.hypothesis) for p in self.predictions]

    @cached_property
    def other_sentences(self) -> str:
        """Return why captions cannot be judged by the truth of scenes; empty if they can, or if there are no scenes.

        References of scenes follow the grammar of the scenes. If they do not, every hypothesis would count as wrong.
        """
        texts = [text for p in self.predictions if p.truth is not None for text in (p.hypothesis, *p.references)]
        texts = texts[:: len(texts) // _TRIED + 1]
        read = sum(read_statement(text) is not None for text in texts)
        if 2 * read >= len(texts):
            return ""
        return (
            f"captions are judged by the English grammar of procedural scenes, and {len(texts) - read:,} of "
            f"{len(texts):,} references tried do not follow it"
        )


def _verdict(prediction: Prediction) -> Verdict:
    assert prediction.truth is not None
    try:
        return judge(prediction.hypothesis, prediction.truth)
    except ValueError as error:
        raise ValueError(f"example {prediction.id!r}: {error}") from error
