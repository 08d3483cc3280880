"""The answers that count: the last of each rater who looked, and not those to attention checks."""

from collections.abc import Sequence
from dataclasses import dataclass

from idc_eval.rating.store import Ratings


@dataclass(frozen=True)
class Rater:
    """How a rater did.

    Attributes:
        name: As given.
        items: How many were judged, checks left out.
        checks: How many checks were answered.
        passed: How many of them rightly.
        kept: Whether the answers count.
    """

    name: str
    items: int
    checks: int
    passed: int
    kept: bool


@dataclass(frozen=True)
class Answer:
    """An answer that counts.

    Attributes:
        item: What was judged.
        pair: Its images.
        systems: Under `scale`, all that gave the caption; under `prefer`, the two in the order given.
        rater: Who said it.
        question: To what.
        value: 1 to 5; under `prefer`, 1 if the second system is better, -1 if the first one is, 0 if they are equal.
        left: Under `prefer`, whether the sentence on the left was chosen; None for neither.
        time: Milliseconds since 1970.
    """

    item: str
    pair: str
    systems: tuple[str, ...]
    rater: str
    question: str
    value: int
    left: bool | None
    time: int


def read_answers(ratings: Ratings, *, passing: float, keep_all: bool) -> tuple[list[Rater], list[Answer]]:
    """Read what counts.

    Args:
        ratings: The study.
        passing: The part of checks that a rater must pass.
        keep_all: Count those who did not, too.

    Raises:
        ValueError: There are no answers, or none that count.
    """
    names = tuple(ratings.settings.systems)
    prefer = ratings.settings.mode == "prefer"
    judged: dict[str, set[str]] = {}
    checks: dict[str, list[bool]] = {}
    answers = []
    first = next(iter(ratings.questions))
    for given in ratings.last():
        item = ratings.items[given.item]
        judged.setdefault(given.rater, set())
        if item.accepted:
            if given.question == first:
                checks.setdefault(given.rater, []).append(given.value in item.accepted)
            continue
        judged[given.rater].add(given.item)
        turned = prefer and item.systems != names
        answers.append(
            Answer(
                item=given.item,
                pair=item.pair,
                systems=names if prefer else item.systems,
                rater=given.rater,
                question=given.question,
                value=-given.value if turned else given.value,
                left=(given.value == -1) != given.flipped if prefer and given.value else None,
                time=given.time,
            )
        )
    raters = [_rater(name, len(judged[name]), checks.get(name, []), passing, keep_all) for name in sorted(judged)]
    kept = {rater.name for rater in raters if rater.kept}
    counted = [answer for answer in answers if answer.rater in kept]
    if not raters:
        raise ValueError(f"nobody has answered anything in {ratings.path} yet; `idc-eval rate` serves the page")
    if not kept:
        raise ValueError(
            f"all {len(raters)} raters passed less than {passing:.0%} of their attention checks; --keep-all counts them"
        )
    if not counted:
        raise ValueError(f"{ratings.path} has answers to attention checks only, so far; let people go on")
    return raters, counted


def means(answers: Sequence[Answer]) -> dict[str, float]:
    """The mean of all raters for each item."""
    values: dict[str, list[int]] = {}
    for answer in answers:
        values.setdefault(answer.item, []).append(answer.value)
    return {item: sum(given) / len(given) for item, given in values.items()}


def _rater(name: str, items: int, checks: list[bool], passing: float, keep_all: bool) -> Rater:
    passed = sum(checks)
    return Rater(name, items, len(checks), passed, kept=keep_all or not checks or passed / len(checks) >= passing)
