"""The outcome of a study as tables for people."""

from rich.console import Console
from rich.table import Table

from idc_eval.rating.agreement import Agreement, Preference
from idc_eval.rating.judged import Rater


def show_agreement(found: Agreement, title: str) -> None:
    """Print all that is known."""
    console = Console()
    console.print(f"{title}: {found.judgements:,} answers count", style="bold", highlight=False)
    console.print(_raters(found.raters))
    table = _table("agreement", "Krippendorff's alpha", "95 % interval", "items judged twice")
    for question, each in found.alphas.items():
        table.add_row(question, _number(each.value), _ends(each.low, each.high), f"{each.items:,}")
    console.print(table)
    if found.means:
        table = _table("question", "system", "mean", "95 % interval", "pairs")
        for each in found.means:
            row = (f"{each.value:.2f}", _ends(each.low, each.high), f"{each.pairs:,}")
            table.add_row(each.question, each.system, *row)
        console.print(table)
    if found.contrasts:
        table = _table("question", "systems", "difference", "95 % interval", "p", "p (Holm)", "pairs")
        for each in found.contrasts:
            row = (f"{each.difference:+.2f}", _ends(each.low, each.high, "+"), f"{each.p:.4f}", f"{each.p_holm:.4f}")
            table.add_row(each.question, f"{each.second} against {each.first}", *row, f"{each.pairs:,}")
        console.print(table)
    if found.preference:
        console.print(_preference(found.preference))
    if found.correlations:
        table = _table("metric", "question", "Spearman", "95 % interval", "p", "Kendall", "p", "items")
        for question, by_metric in found.correlations.items():
            for metric, each in by_metric.items():
                row = (_number(each.spearman), _ends(each.low, each.high), _number(each.p, 4))
                row += (_number(each.kendall), _number(each.kendall_p, 4), f"{each.items:,}")
                table.add_row(metric, question, *row)
        console.print(table)
    for note in found.notes:
        console.print(note, highlight=False, markup=False)


def _raters(raters: list[Rater]) -> Table:
    table = _table("rater", "items", "checks passed", "")
    for each in raters:
        checks = f"{each.passed} of {each.checks}" if each.checks else "-"
        table.add_row(each.name, f"{each.items:,}", checks, "" if each.kept else "left out: did not look")
    return table


def _preference(found: Preference) -> Table:
    table = _table("preferred", "part of answers (%)", "95 % interval", "pairs")
    sides = ((found.first, 0, 0), ("neither", 1, None), (found.second, 2, 1))
    for name, place, end in sides:
        ends = "" if end is None else " to ".join(_percent(each[end]) for each in (found.low, found.high))
        table.add_row(name, _percent(found.wins[place]), ends, f"{found.pairs[place]:,}")
    said = [f"sign test over pairs: p {found.p:.4f}"]
    if found.decided:
        said.append(f"the left one was chosen {found.left:,} of {found.decided:,} times")
    if found.same:
        said.append(f"{found.same:.0%} of all pairs were not asked: both say the same")
    table.caption = "; ".join(said)
    table.caption_justify = "left"
    return table


def _table(*headings: str) -> Table:
    words = ("agreement", "question", "system", "systems", "rater", "metric", "preferred", "")
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="left" if heading in words else "right")
    return table


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f}"


def _ends(low: float | None, high: float | None, sign: str = "") -> str:
    return "-" if low is None or high is None else f"{low:{sign}.2f} to {high:{sign}.2f}"
