"""The outcome of a study for experiment trackers: named numbers, and single judgements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idc_eval.rating.agreement import Agreement, agreement
from idc_eval.rating.judged import read_answers
from idc_eval.rating.store import Ratings


@dataclass(frozen=True)
class Assessment:
    """What one person said of one caption.

    Attributes:
        item: The id of the pair.
        system: Whose caption.
        rater: Who said it.
        question: To what.
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
    """Sum a study up in numbers with flat names; what does not exist is left out.

    Args:
        path: The file of ratings.
        system: Whose numbers, such as `human/correctness` with `_low` and `_high`, or `human/preference_win`. By
            default those of all: with several systems, their names come in between: `human/lstm/correctness`.
        metrics: To correlate with people, as in `human/spearman_cider_correctness`.
        passing: See `agreement`.
        keep_all: See `agreement`.

    Raises:
        ValueError: There is no such system in the study, or see `agreement`.
        OSError: The file cannot be read.
    """
    with Ratings(path) as ratings:
        systems = list(ratings.settings.systems)
        if system is not None and system not in systems:
            raise ValueError(f"{path} is not about {system!r}, but: {', '.join(systems)}")
        found = agreement(ratings, metrics, passing=passing, keep_all=keep_all)
    told: dict[str, float | None] = {
        "human/raters": sum(rater.kept for rater in found.raters),
        "human/raters_left_out": sum(not rater.kept for rater in found.raters),
        "human/judgements": found.judgements,
    }
    for question, each in found.alphas.items():
        told |= _with_ends(f"human/alpha_{question}", each.value, each.low, each.high)
    for question, by_metric in found.correlations.items():
        for metric, each in by_metric.items():
            told |= _with_ends(f"human/spearman_{metric}_{question}", each.spearman, each.low, each.high)
            told[f"human/kendall_{metric}_{question}"] = each.kendall
    for name in [system] if system else systems:
        prefix = "human/" if system or len(systems) == 1 else f"human/{name}/"
        told |= {f"{prefix}{key}": value for key, value in _of_system(found, name).items()}
    return {name: float(value) for name, value in told.items() if value is not None}


def assessments(path: Path, *, passing: float = 0.5, keep_all: bool = False) -> list[Assessment]:
    """Every answer that counts, in the order of time; one that is about several systems comes once for each.

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


def _of_system(found: Agreement, system: str) -> dict[str, float | None]:
    told: dict[str, float | None] = {}
    for mean in found.means:
        if mean.system == system:
            told |= _with_ends(mean.question, mean.value, mean.low, mean.high)
    if found.preference:
        place = (found.preference.first, found.preference.second).index(system)
        win, tie, loss = found.preference.wins if place == 0 else found.preference.wins[::-1]
        told |= _with_ends("preference_win", win, found.preference.low[place], found.preference.high[place])
        told |= {"preference_tie": tie, "preference_loss": loss, "preference_p": found.preference.p}
    return told


def _with_ends(name: str, value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}
