"""What an examination of a dataset has found, and its wording."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
Pair = tuple[str, str]
"""Split and id."""

FIXES = {
    "merge": "records of one pair become one; every reader does so",
    "drop-blank": "blank sentences are left out, and pairs without any other; every reader does so",
    "drop-shared": "pairs that have an image in common with a later split are left out (train before val before test)",
    "drop-near": "pairs with a near copy of an image of a later split are left out",
    "drop-damaged": "pairs whose images are missing, damaged or of unequal sizes are left out",
    "drop-contradicting": "pairs whose sentences contradict the flag or the mask are left out",
    "drop-foreign": "sentences in another script are left out, and pairs without any other",
}
"""What can be mended, and how."""

_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Problems of one kind.

    Attributes:
        severity: An `error` makes scores untrue or the data unusable; a `warning` deserves a look; a `note` only says
            what is done.
        message: What was found.
        examples: Where, for people.
        fix: The name of the fix that mends it, of `FIXES`.
        count: How many there are.
    """

    severity: Severity
    message: str
    examples: tuple[str, ...] = ()
    fix: str | None = None
    count: int = 1


@dataclass
class Diagnosis:
    """What was found in a dataset.

    Attributes:
        counts: Split -> how many records, pairs, pairs as published, sentences, and pairs that changed.
        findings: The worst first.
        drops: Fix -> the pairs that it leaves out.
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
        """Say which pairs a fix leaves out."""
        self.drops.setdefault(fix, set()).update(pairs)

    @property
    def bad(self) -> bool:
        """Whether there are errors or warnings."""
        return any(each.severity != "note" for each in self.findings)

    @property
    def fixes(self) -> list[str]:
        """The fixes that mend something here, in the order of `FIXES`."""
        return [name for name in FIXES if any(each.fix == name for each in self.findings)]

    def lines(self) -> Iterator[str]:
        """Word it: a table of the counts, then the problems."""
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
