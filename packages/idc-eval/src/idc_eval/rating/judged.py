"""Select the answers that count: the last ones of attentive raters, without attention checks."""

from collections.abc import Sequence
from dataclasses import dataclass

from idc_eval.rating.store import Ratings


@dataclass(frozen=True)
class Rater:
    """A rater's attention.

    Attributes:
        name: Name of the rater.
        items: Number of judged items, without checks.
        checks: Number of answered checks.
        passed: Number of passed checks.
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
        item: Id of the item.
        pair: Id of the pair.
        systems: Under `scale`, all systems with this caption; under `prefer`, the two systems in the given order.
        rater: Name of the rater.
        question: Name of the question.
        value: 1 to 5; under `prefer`, 1 if the second system is better, -1 if the first is, 0 if they are equal.
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
    """Read the answers that count.

    Args:
        ratings: The study.
        passing: Share of checks that a rater must pass.
        keep_all: Also count raters who did not pass.

    Raises:
        ValueError: There are no answers, or none that count.
    """
    names = tuple(ratings.settings.systems)
    prefer = ratings.settings.mode == "prefer"
    judged: dict[str, set[str]] = {}
    checks: dict[str, list[bool]] = {}
    answers = []
    first = next(iter(ratings.questions))
    for judgement in ratings.last():
        item = ratings.items[judgement.item]
        judged.setdefault(judgement.rater, set())
        if item.accepted:
            if judgement.question == first:
                checks.setdefault(judgement.rater, []).append(judgement.value in item.accepted)
            continue
        judged[judgement.rater].add(judgement.item)
        turned = prefer and item.systems != names
        answers.append(
            Answer(
                item=judgement.item,
                pair=item.pair,
                systems=names if prefer else item.systems,
                rater=judgement.rater,
                question=judgement.question,
                value=-judgement.value if turned else judgement.value,
                left=(judgement.value == -1) != judgement.flipped if prefer and judgement.value else None,
                time=judgement.time,
            )
        )
    raters = [_rater(name, len(judged[name]), checks.get(name, []), passing, keep_all) for name in sorted(judged)]
    kept = {rater.name for rater in raters if rater.kept}
    counted = [answer for answer in answers if answer.rater in kept]
    if not raters:
        raise ValueError(f"there are no answers in {ratings.path} yet; serve the page with `idc-eval rate`")
    if not kept:
        raise ValueError(
            f"all {len(raters)} raters passed less than {passing:.0%} of their attention checks; --keep-all counts them"
        )
    if not counted:
        raise ValueError(f"{ratings.path} has only answers to attention checks so far; collect more answers")
    return raters, counted


def means(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the mean over raters for each item."""
    values: dict[str, list[int]] = {}
    for answer in answers:
        values.setdefault(answer.item, []).append(answer.value)
    return {item: sum(votes) / len(votes) for item, votes in values.items()}


def _rater(name: str, items: int, checks: list[bool], passing: float, keep_all: bool) -> Rater:
    passed = sum(checks)
    return Rater(name, items, len(checks), passed, kept=keep_all or not checks or passed / len(checks) >= passing)
