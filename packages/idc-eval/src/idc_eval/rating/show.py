"""Print the results of a study as tables."""

from rich.console import Console
from rich.table import Table

from idc_eval.rating.agreement import Agreement, Preference
from idc_eval.rating.judged import Rater


def show_agreement(result: Agreement, title: str) -> None:
    """Print all results."""
    console = Console()
    console.print(f"{title}: {result.judgements:,} answers count", style="bold", highlight=False)
    console.print(_raters(result.raters))
    table = _table("agreement", "Krippendorff's alpha", "95 % interval", "items judged twice")
    for question, each in result.alphas.items():
        table.add_row(question, _number(each.value), _ends(each.low, each.high), f"{each.items:,}")
    console.print(table)
    if result.means:
        table = _table("question", "system", "mean", "95 % interval", "pairs")
        for each in result.means:
            row = (f"{each.value:.2f}", _ends(each.low, each.high), f"{each.pairs:,}")
            table.add_row(each.question, each.system, *row)
        console.print(table)
    if result.contrasts:
        table = _table("question", "systems", "difference", "95 % interval", "p", "p (Holm)", "pairs")
        for each in result.contrasts:
            row = (f"{each.difference:+.2f}", _ends(each.low, each.high, "+"), f"{each.p:.4f}", f"{each.p_holm:.4f}")
            table.add_row(each.question, f"{each.second} against {each.first}", *row, f"{each.pairs:,}")
        console.print(table)
    if result.preference:
        console.print(_preference(result.preference))
    if result.correlations:
        table = _table("metric", "question", "Spearman", "95 % interval", "p", "Kendall", "p", "items")
        for question, by_metric in result.correlations.items():
            for metric, each in by_metric.items():
                row = (_number(each.spearman), _ends(each.low, each.high), _number(each.p, 4))
                row += (_number(each.kendall), _number(each.kendall_p, 4), f"{each.items:,}")
                table.add_row(metric, question, *row)
        console.print(table)
    for note in result.notes:
        console.print(note, highlight=False, markup=False)


def _raters(raters: list[Rater]) -> Table:
    table = _table("rater", "items", "checks passed", "")
    for each in raters:
        checks = f"{each.passed} of {each.checks}" if each.checks else "-"
        table.add_row(each.name, f"{each.items:,}", checks, "" if each.kept else "left out: failed checks")
    return table


def _preference(result: Preference) -> Table:
    table = _table("preferred", "share of answers (%)", "95 % interval", "pairs")
    sides = ((result.first, 0, 0), ("neither", 1, None), (result.second, 2, 1))
    for name, place, end in sides:
        ends = "" if end is None else " to ".join(_percent(each[end]) for each in (result.low, result.high))
        table.add_row(name, _percent(result.wins[place]), ends, f"{result.pairs[place]:,}")
    remarks = [f"sign test over pairs: p {result.p:.4f}"]
    if result.decided:
        remarks.append(f"the left sentence was chosen {result.left:,} of {result.decided:,} times")
    if result.same:
        remarks.append(f"{result.same:.0%} of all pairs were not rated: their captions are equal")
    table.caption = "; ".join(remarks)
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
