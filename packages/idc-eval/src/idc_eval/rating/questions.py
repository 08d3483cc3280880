"""The questions raters answer."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["scale", "prefer"]


@dataclass(frozen=True)
class Question:
    """A question about an item.

    Attributes:
        name: Name in the database and in tables.
        text: Text on the page.
        answers: Values and labels of the buttons, in the order of the keys 1, 2, 3, ...
        level: Level of measurement, for Krippendorff's alpha.
    """

    name: str
    text: str
    answers: dict[int, str]
    level: Literal["ordinal", "nominal"]


def _five(name: str, text: str, low: str, high: str) -> Question:
    return Question(name, text, {1: low, 2: "", 3: "", 4: "", 5: high}, "ordinal")


QUESTIONS: dict[Mode, tuple[Question, ...]] = {
    "scale": (
        _five("correctness", "Is the sentence true?", "all wrong", "all true"),
        _five("completeness", "Does it mention everything that changed?", "nothing", "everything"),
        _five("fluency", "Does it read well?", "unreadable", "very well"),
    ),
    # -1 is the item's first caption, 1 its second; the page decides which one is on the left.
    "prefer": (
        Question(
            "preference",
            "Which sentence better describes what changed from before to after?",
            {-1: "left", 0: "about the same", 1: "right"},
            "nominal",
        ),
    ),
}
"""The questions of each mode, in order. Attention checks use the first question."""
