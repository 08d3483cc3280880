"""The tables that `idc-eval` prints."""

from collections.abc import Mapping, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table

from idc_eval.compare import Difference
from idc_eval.metrics import METRICS, labelled, shown
from idc_eval.protocols import PROTOCOLS
from idc_eval.score import Scores
from idc_eval.seeds import Aggregate

_number = partial(shown, unit=False)  # the row's label has the unit


def print_scores(scores: Scores, ceiling: Scores | None, *, by_type: bool, by_difficulty: bool) -> None:
    """Print the table of scores, skipped metrics, and how they were computed."""
    console = Console()
    console.print(f"{scores.n:,} pairs, protocol {scores.protocol}, values x 100", highlight=False)
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("pairs", justify="right")
    if ceiling:
        table.add_column("one reference against the others", justify="right")
        table.add_column("pairs", justify="right")
    for name, value in scores.values.items():
        row = [labelled(name), _number(name, value), str(scores.counts[name])]
        if ceiling and name in ceiling.values:
            row += [_number(name, ceiling.values[name]), str(ceiling.counts[name])]
        table.add_row(*row)
    console.print(table)
    for reason in dict.fromkeys(scores.skipped.values()):
        names = ", ".join(name for name, why in scores.skipped.items() if why == reason)
        console.print(f"skipped {names}: {reason}", highlight=False)
    if by_type:
        missing = "by type: no example carries `change_type` or `truth`"
        console.print(_groups("change type", scores.by_type) if scores.by_type else missing)
    if by_difficulty and not scores.by_difficulty:
        console.print("by difficulty: no example carries `difficulty`")
    for name, rows in scores.by_difficulty.items() if by_difficulty else ():
        console.print(_groups(name, rows))
    if scores.details["note"]:
        console.print(f"note: {scores.details['note']}", style="yellow", highlight=False)
    versions = ", ".join(f"{library} {number}" for library, number in scores.versions.items())
    console.print(f"{scores.tokenizer}; {versions}", style="dim", highlight=False)


def print_differences(differences: Sequence[Difference], title: str) -> None:
    """Print the differences between two systems."""
    pairs = max((each.pairs for each in differences), default=0)
    Console().print(f"{title}: {pairs:,} pairs, values x 100", highlight=False)
    table = Table()
    for heading in ("metric", "first", "second", "difference", "95 % interval", "p", "pairs needed", ""):
        table.add_column(heading, justify="left" if heading in ("metric", "") else "right", no_wrap="inter" in heading)
    for each in differences:
        sign = -1 if METRICS[each.metric].lower_is_better else 1
        sure = "" if each.low <= 0 <= each.high else ("better" if sign * each.value > 0 else "worse")
        table.add_row(
            labelled(each.metric) if each.pairs == pairs else f"{labelled(each.metric)}, {each.pairs:,} pairs",
            _number(each.metric, each.first),
            _number(each.metric, each.second),
            _number(each.metric, each.value, signed=True),
            " to ".join(_number(each.metric, end, signed=True) for end in (each.low, each.high)),
            f"{each.p:.4f}",
            "-" if each.needed is None else f"{each.needed:,}",
            sure,
        )
    Console().print(table)


def print_aggregates(aggregates: Sequence[Aggregate], scores: Sequence[Scores]) -> None:
    """Print each metric over several seeds."""
    title = f"{len(scores)} runs, {scores[0].n:,} pairs, protocol {scores[0].protocol}, values x 100"
    Console().print(title, highlight=False)
    table = Table()
    for heading in ("metric", "mean", "deviation", "95 % interval", "lowest", "highest"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for each in aggregates:
        spread = ("-", "-")
        if each.deviation is not None and each.low is not None and each.high is not None:
            deviation, low, high = (_number(each.metric, value) for value in (each.deviation, each.low, each.high))
            spread = (deviation, f"{low} to {high}")
        mean, lowest, highest = (
            _number(each.metric, value) for value in (each.mean, min(each.values), max(each.values))
        )
        table.add_row(labelled(each.metric), mean, *spread, lowest, highest)
    Console().print(table)


def print_protocols() -> None:
    """Print every protocol in one line."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("protocol", "what is scored", "published pairs"):
        table.add_column(heading, justify="right" if "pairs" in heading else "left")
    for protocol in PROTOCOLS.values():
        table.add_row(protocol.name, protocol.about, f"{protocol.published:,}" if protocol.published else "")
    Console().print(table)


def _groups(by: str, groups: Mapping[str, Mapping[str, float]]) -> Table:
    """Make a table with a column per group: there are fewer groups than metrics."""
    table = Table(title=f"By {by.replace('_', ' ')}, values x 100")
    table.add_column("metric", no_wrap=True)
    for group in groups:
        table.add_column(group, justify="right")
    table.add_row("pairs", *(f"{int(row['n']):,}" for row in groups.values()))
    for name in dict.fromkeys(name for row in groups.values() for name in row if name != "n"):
        table.add_row(labelled(name), *(_number(name, row[name]) if name in row else "-" for row in groups.values()))
    return table
