"""What the metrics of one set of predictions share: captions as words, verdicts, claims, confidences."""

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

_TRIED = 500  # references of scenes, to see whether they can be read


class Evaluation:
    """What the metrics of one set of predictions share, each computed once and only if a metric asks for it."""

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
        """What is right about each hypothesis, None where the scene's truth is not known."""
        return [None if p.truth is None else _verdict(p) for p in self.predictions]

    @cached_property
    def confidences(self) -> list[float]:
        """The model's mean probability of a word of each hypothesis."""
        from idc_eval.calibration import confidence

        return [confidence(p) for p in self.predictions]

    @cached_property
    def cider(self) -> Measured:
        """CIDEr-D."""
        return captions.cider(self.captions)

    @property
    def right(self) -> list[bool | None]:
        """Whether each hypothesis is right, None where the scene's truth is not known."""
        return [verdict and verdict.statement_right for verdict in self.verdicts]

    @cached_property
    def claims(self) -> list[bool]:
        """Whether each hypothesis claims a change."""
        return [self.reader.claims_change(p.hypothesis) for p in self.predictions]

    @cached_property
    def other_sentences(self) -> str:
        """Why captions cannot be judged by the facts of scenes; nothing where they can, or no scene is known.

        References of scenes are sentences of the scenes' language. Where they are not, every hypothesis would be
        wrong.
        """
        texts = [text for p in self.predictions if p.truth is not None for text in (p.hypothesis, *p.references)]
        texts = texts[:: len(texts) // _TRIED + 1]
        read = sum(read_statement(text) is not None for text in texts)
        if 2 * read >= len(texts):
            return ""
        return (
            f"the reader of scenes knows the English sentences of procedural scenes, and {len(texts) - read:,} of "
            f"{len(texts):,} captions that it was tried on are others"
        )


def _verdict(prediction: Prediction) -> Verdict:
    assert prediction.truth is not None
    try:
        return judge(prediction.hypothesis, prediction.truth)
    except ValueError as error:
        raise ValueError(f"example {prediction.id!r}: {error}") from error
