"""The result of examining a dataset, and its report."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
Pair = tuple[str, str]
"""Split and id."""

FIXES = {
    "merge": "merge records of the same pair; every reader does so",
    "drop-blank": "drop blank sentences, and pairs without others; every reader does so",
    "drop-shared": "drop pairs that share an image with a later split (order: train, val, test)",
    "drop-near": "drop pairs with a near copy of an image of a later split",
    "drop-damaged": "drop pairs whose images are missing or damaged",
    "drop-unequal": "drop pairs whose two images have different sizes",
    "drop-contradicting": "drop pairs whose sentences contradict the flag or the mask",
    "drop-foreign": "drop sentences in another script, and pairs without others",
}
"""Fixes: name -> what it does."""

_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Problems of one kind.

    Attributes:
        severity: An `error` makes scores wrong or the data unusable; a `warning` deserves a look; a `note` is
            information only.
        message: What was found.
        examples: Where it was found, for the report.
        fix: The name of the fix, in `FIXES`.
        count: Number of problems.
    """

    severity: Severity
    message: str
    examples: tuple[str, ...] = ()
    fix: str | None = None
    count: int = 1


@dataclass
class Diagnosis:
    """The problems of a dataset.

    Attributes:
        dataset: Name of the reader.
        counts: Split -> numbers of records, pairs, published pairs, sentences, and changed pairs.
        findings: The problems.
        drops: Fix -> the pairs that it drops.
    """

    dataset: str
    counts: dict[str, dict[str, int | None]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    drops: dict[str, set[Pair]] = field(default_factory=dict)

    def add(self, severity: Severity, message: str, examples: list[str], fix: str | None = None) -> None:
        """Add problems of one kind, if there are any."""
        if examples:
            shown = tuple(textwrap.shorten(each, 150, placeholder=" ...") for each in examples[:_EXAMPLES])
            self.findings.append(Finding(severity, message, shown, fix, len(examples)))

    def tell(self, severity: Severity, message: str) -> None:
        """Add a problem of the dataset or of a split as a whole."""
        self.findings.append(Finding(severity, message))

    def drop(self, fix: str, pairs: set[Pair]) -> None:
        """Record which pairs a fix drops."""
        self.drops.setdefault(fix, set()).update(pairs)

    @property
    def bad(self) -> bool:
        """Return whether there are errors or warnings."""
        return any(each.severity != "note" for each in self.findings)

    @property
    def fixes(self) -> list[str]:
        """Return the fixes that apply to this dataset, in the order of `FIXES`."""
        return [name for name in FIXES if any(each.fix == name for each in self.findings)]

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report: a table of counts, then the problems, errors first."""
        titles = ("split", "records", "pairs", "published", "sentences", "changed")
        rows = [titles, *((split, *(_number(count) for count in row.values())) for split, row in self.counts.items())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
        for row in rows:
            yield "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        for each in sorted(self.findings, key=lambda each: ("error", "warning", "note").index(each.severity)):
            count = f" ({each.count:,})" if each.examples else ""
            yield f"{each.severity}: {each.message}{count}{f'; --fix {each.fix}' if each.fix else ''}"
            yield from (f"    {example}" for example in each.examples)
            if (more := each.count - len(each.examples)) > 0 and each.examples:
                yield f"    and {more:,} more"


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
