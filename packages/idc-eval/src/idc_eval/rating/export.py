"""Export a study to experiment trackers: named numbers, and single judgements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idc_eval.rating.agreement import Agreement, agreement
from idc_eval.rating.judged import read_answers
from idc_eval.rating.store import Ratings


@dataclass(frozen=True)
class Assessment:
    """One person's judgement of one caption.

    Attributes:
        item: Id of the pair.
        system: Name of the system.
        rater: Name of the rater.
        question: Name of the question.
        value: 1 to 5; for a preference 1 if this caption was preferred, 0 if the other one was, 0.5 if neither.
        time: Milliseconds since 1970.
    """

    item: str
    system: str
    rater: str
    question: str
    value: float
    time: int


def summary(
    path: Path,
    system: str | None = None,
    metrics: Sequence[str] = (),
    *,
    passing: float = 0.5,
    keep_all: bool = False,
) -> dict[str, float]:
    """Summarise a study as numbers with flat names; missing values are left out.

    Args:
        path: The file of ratings.
        system: System whose numbers to return, such as `human/correctness` with `_low` and `_high`, or
            `human/preference_win`. By default all systems; if there are several, keys include their names:
            `human/lstm/correctness`.
        metrics: Metrics to correlate with people, as in `human/spearman_cider_correctness`.
        passing: See `agreement`.
        keep_all: See `agreement`.

    Raises:
        ValueError: The study has no such system; or see `agreement`.
        OSError: The file cannot be read.
    """
    with Ratings(path) as ratings:
        systems = list(ratings.settings.systems)
        if system is not None and system not in systems:
            raise ValueError(f"{path} has no system {system!r}, only: {', '.join(systems)}")
        result = agreement(ratings, metrics, passing=passing, keep_all=keep_all)
    numbers: dict[str, float | None] = {
        "human/raters": sum(rater.kept for rater in result.raters),
        "human/raters_left_out": sum(not rater.kept for rater in result.raters),
        "human/judgements": result.judgements,
    }
    for question, each in result.alphas.items():
        numbers |= _with_ends(f"human/alpha_{question}", each.value, each.low, each.high)
    for question, by_metric in result.correlations.items():
        for metric, each in by_metric.items():
            numbers |= _with_ends(f"human/spearman_{metric}_{question}", each.spearman, each.low, each.high)
            numbers[f"human/kendall_{metric}_{question}"] = each.kendall
    for name in [system] if system else systems:
        prefix = "human/" if system or len(systems) == 1 else f"human/{name}/"
        numbers |= {f"{prefix}{key}": value for key, value in _of_system(result, name).items()}
    return {name: float(value) for name, value in numbers.items() if value is not None}


def assessments(path: Path, *, passing: float = 0.5, keep_all: bool = False) -> list[Assessment]:
    """Return every answer that counts, in order of time; an answer about several systems is repeated for each.

    Raises:
        ValueError: See `agreement`.
        OSError: The file cannot be read.
    """
    with Ratings(path) as ratings:
        prefer = ratings.settings.mode == "prefer"
        _, answers = read_answers(ratings, passing=passing, keep_all=keep_all)
    rows = []
    for answer in answers:
        for place, system in enumerate(answer.systems):
            value = (1 + (2 * place - 1) * answer.value) / 2 if prefer else float(answer.value)
            rows.append(Assessment(answer.pair, system, answer.rater, answer.question, value, answer.time))
    return rows


def _of_system(result: Agreement, system: str) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for mean in result.means:
        if mean.system == system:
            numbers |= _with_ends(mean.question, mean.value, mean.low, mean.high)
    if result.preference:
        place = (result.preference.first, result.preference.second).index(system)
        win, tie, loss = result.preference.wins if place == 0 else result.preference.wins[::-1]
        numbers |= _with_ends("preference_win", win, result.preference.low[place], result.preference.high[place])
        numbers |= {"preference_tie": tie, "preference_loss": loss, "preference_p": result.preference.p}
    return numbers


def _with_ends(name: str, value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}
