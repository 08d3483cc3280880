"""What a metric says of a set of predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A metric's value over all examples, and its value for each of them.

    Attributes:
        value: Over all examples. NaN where no example could be judged.
        per_example: In the order of the predictions; NaN where an example is not judged. The mean of these is the
            value for every metric but BLEU and METEOR, which add up counts over the corpus before they divide.
    """

    value: float
    per_example: list[float]

    @property
    def count(self) -> int:
        """How many examples were judged."""
        return sum(not math.isnan(value) for value in self.per_example)


def share(judgements: Sequence[bool | None]) -> Measured:
    """The share of True among the judgements that are not None."""
    return average([math.nan if judgement is None else float(judgement) for judgement in judgements])


def average(per_example: list[float]) -> Measured:
    """The mean of the values that are not NaN."""
    judged = [value for value in per_example if not math.isnan(value)]
    return Measured(sum(judged) / len(judged) if judged else math.nan, per_example)
