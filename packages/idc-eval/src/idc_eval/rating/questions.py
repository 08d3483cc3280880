"""What raters are asked."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["scale", "prefer"]


@dataclass(frozen=True)
class Question:
    """What is asked of an item.

    Attributes:
        name: In the database and in tables.
        text: On the page.
        answers: Each value and what its button says, in the order of the keys 1, 2, 3, ...
        level: Of measurement, for Krippendorff's alpha.
    """

    name: str
    text: str
    answers: dict[int, str]
    level: Literal["ordinal", "nominal"]


def _five(name: str, text: str, low: str, high: str) -> Question:
    return Question(name, text, {1: low, 2: "", 3: "", 4: "", 5: high}, "ordinal")


QUESTIONS: dict[Mode, tuple[Question, ...]] = {
    "scale": (
        _five("correctness", "Is what the sentence says true?", "all wrong", "all true"),
        _five("completeness", "Does it tell all that changed?", "nothing of it", "all of it"),
        _five("fluency", "Does it read well?", "unreadable", "very well"),
    ),
    # -1 is the item's first caption, 1 its second one; which of them stands on the left is up to the page.
    "prefer": (
        Question(
            "preference",
            "Which sentence tells better what changed from before to after?",
            {-1: "left", 0: "about the same", 1: "right"},
            "nominal",
        ),
    ),
}
"""What is asked under each mode, in this order. An attention check is judged by the first question."""
