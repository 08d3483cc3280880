"""The values of a metric on a set of predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Measured:
    """A metric's value over all examples, and for each example.

    Attributes:
        value: Value over all examples; NaN if none could be judged.
        per_example: Values in the order of the predictions; NaN if an example is not judged. Their mean is `value` for
            every metric but BLEU and METEOR, which sum counts over the corpus before dividing. Empty if single examples
            have no value, as with the diversity of captions.
        judged: Number of examples behind `value` if `per_example` is empty.
    """

    value: float
    per_example: list[float]
    judged: int = 0

    @classmethod
    def of_corpus(cls, value: float, judged: int) -> Self:
        """Make a value of the whole corpus, without values of examples."""
        return cls(value, [], judged)

    @property
    def count(self) -> int:
        """Return the number of judged examples."""
        return self.judged or sum(not math.isnan(value) for value in self.per_example)


def share(judgements: Sequence[bool | None]) -> Measured:
    """Return the share of True among the judgements that are not None."""
    return average([math.nan if judgement is None else float(judgement) for judgement in judgements])


def average(per_example: list[float]) -> Measured:
    """Return the mean of the values that are not NaN."""
    judged = [value for value in per_example if not math.isnan(value)]
    return Measured(sum(judged) / len(judged) if judged else math.nan, per_example)
