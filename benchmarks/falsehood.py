"""How often the checks for false sentences are right: `uv run benchmarks/falsehood.py`.

`benchmarks/verdicts` holds sentences that `rules` and SmolLM2-135M-Instruct wrote about pairs of photos, with the
captions that they were written from, and a reader's verdict on each (the form of `idc-data audit`): accepted if all of
it follows from the captions or the photos, in the right order; clumsy grammar is accepted. A check is right about a
sentence that it objects to if the reader rejected it (precision), and it finds a share of those that the reader
rejected (recall).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from idc_data.audit import read_verdicts
from idc_data.generate.falsehood import CHECKS, Statement

FOLDER = Path(__file__).parent / "verdicts"


@dataclass(frozen=True)
class Judged:
    """A sentence, who wrote it, whether the reader accepted it, and the names of the checks that object to it."""

    writer: str
    text: str
    true: bool
    objections: tuple[str, ...]


def judged() -> list[Judged]:
    """Read all sentences, and run the checks on them."""
    lines = (FOLDER / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    captions = {row["id"]: row for row in map(json.loads, lines)}
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        for name, verdict in read_verdicts(file).items():
            row = captions[name]
            statement = Statement(verdict.written[0], row["change_type"], (row["before"],), (row["after"],))
            objections = tuple(check for check, objects in CHECKS.items() if objects(statement))
            found.append(Judged(file.stem, statement.text, verdict.verdict == "accept", objections))
    return found


def main() -> None:
    """Print two tables in Markdown."""
    sentences = judged()
    false = [each for each in sentences if not each.true]
    print("| check | objects to | of them false | precision | recall |\n|---|---|---|---|---|")
    for check in (*CHECKS, "any of them"):
        hit = [each for each in sentences if (each.objections if check == "any of them" else check in each.objections)]
        right = sum(not each.true for each in hit)
        share = f"{100 * right / len(hit):.0f} %" if hit else "-"
        print(f"| `{check}` | {len(hit)} | {right} | {share} | {100 * right / len(false):.0f} % |")
    print("\n| writer | sentences | true | kept by the checks | true of those kept |\n|---|---|---|---|---|")
    for writer in sorted({each.writer for each in sentences}):
        ours = [each for each in sentences if each.writer == writer]
        kept = [each for each in ours if not each.objections]
        true, right = sum(each.true for each in ours), sum(each.true for each in kept)
        shares = f"{true} ({100 * true / len(ours):.0f} %) | {len(kept)} ({100 * len(kept) / len(ours):.0f} %)"
        print(f"| {writer} | {len(ours)} | {shares} | {right} ({100 * right / max(len(kept), 1):.0f} %) |")


if __name__ == "__main__":
    main()
