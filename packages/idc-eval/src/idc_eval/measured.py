"""What a metric says of a set of predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Measured:
    """A metric's value over all examples, and its value for each of them.

    Attributes:
        value: Over all examples. NaN where no example could be judged.
        per_example: In the order of the predictions; NaN where an example is not judged. The mean of these is the
            value for every metric but BLEU and METEOR, which add up counts over the corpus before they divide. Empty
            where a single example has no value, as with the diversity of captions.
        judged: How many examples the value rests on, where none has a value of its own.
    """

    value: float
    per_example: list[float]
    judged: int = 0

    @classmethod
    def of_corpus(cls, value: float, judged: int) -> Self:
        """A value that single examples do not have."""
        return cls(value, [], judged)

    @property
    def count(self) -> int:
        """How many examples were judged."""
        return self.judged or sum(not math.isnan(value) for value in self.per_example)


def share(judgements: Sequence[bool | None]) -> Measured:
    """The share of True among the judgements that are not None."""
    return average([math.nan if judgement is None else float(judgement) for judgement in judgements])


def average(per_example: list[float]) -> Measured:
    """The mean of the values that are not NaN."""
    judged = [value for value in per_example if not math.isnan(value)]
    return Measured(sum(judged) / len(judged) if judged else math.nan, per_example)
